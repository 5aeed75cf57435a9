"""The manifests for Kubernetes, and their pods in Podman.

What only a cluster can show is not tested: rolling updates, the autoscaler and network policies.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
import requests
import trustme
import yaml
from dotenv import dotenv_values
from figures import report
from projects import (
    EACH,
    ENVIRONMENT,
    FULL,
    TEMPLATE,
    change,
    commands,
    constants,
    each_combination,
    run,
)
from stacks import SLUG, temporary_stack, unique_name, wait_for

NAMESPACE = "my-service"
EVERYTHING = FULL | {"use_worker": True, "use_metrics": True, "use_kubernetes": True}
WEB_OBJECT = ("Deployment", "web")
COMPONENT = "app.kubernetes.io/component"
SECRETS = {
    "use_postgres": "DATABASE_URL",
    "use_redis": "REDIS_URL",
    "use_worker": "QUEUE_URL",
    "use_metrics": "METRICS_TOKEN",
    "use_accounts": "MAIL_URL",
}
CHECKOV = "checkov==3.3.30"


def render(project):
    """Return the objects in the manifests of a project."""
    run("kubectl", "kustomize", "deploy/kubernetes", "--output=manifests.yaml", cwd=project)
    return list(yaml.safe_load_all((project / "manifests.yaml").read_text()))


@pytest.fixture(scope="session")
def objects(project):
    """Return the rendered objects, by kind and name; tests must not change them."""
    return {(one["kind"], one["metadata"]["name"]): one for one in render(project)}


def named(objects, kind):
    """Return the objects of a kind, by name."""
    return {name: one for (other, name), one in objects.items() if other == kind}


def pods(objects):
    """Return the template of each pod, by the name of its Deployment or Job."""
    found = named(objects, "Deployment") | named(objects, "Job")
    return {name: one["spec"]["template"] for name, one in found.items()}


def containers_of(workload):
    """Return the containers of a Deployment or Job, and none for other objects."""
    pod = workload.get("spec", {}).get("template", {})
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"] if pod else []


def settings_of(objects):
    """Return the settings that are not secret."""
    [settings] = [one for name, one in named(objects, "ConfigMap").items() if "settings" in name]
    return settings["data"]


with_kubernetes = each_combination("use_kubernetes")


@with_kubernetes
def test_manifests_are_valid_in_three_versions(project, objects):
    versions = [f"--kubernetes-version={version}" for version in ("1.35", "1.36", "1.37")]

    run("kubernetes-validate", "--strict", *versions, "manifests.yaml", cwd=project)


@with_kubernetes
def test_objects_are_those_of_the_options(objects, chosen):
    expected = {
        *("Namespace my-service", "Deployment web", "Service web", "Ingress web"),
        *("HorizontalPodAutoscaler web", "PodDisruptionBudget web"),
        *("NetworkPolicy default-deny", "NetworkPolicy web"),
    }
    expected |= {"Job migrate"} if chosen["use_postgres"] else set()
    expected |= {"Deployment worker", "Deployment beat"} if chosen["use_worker"] else set()
    expected |= {"Service metrics"} if chosen["use_metrics"] else set()
    if any(chosen[option] for option in ("use_postgres", "use_redis", "use_worker")):
        expected.add("NetworkPolicy egress")

    assert {" ".join(key) for key in objects if key[0] != "ConfigMap"} == expected
    containers = [one["name"] for one in pods(objects)["web"]["spec"]["containers"]]
    assert containers == (["web", "nginx"] if chosen["use_nginx"] else ["web"])
    for (kind, _), one in objects.items():
        assert one["metadata"].get("namespace") == (None if kind == "Namespace" else NAMESPACE)
        assert one["metadata"]["labels"]["app.kubernetes.io/name"] == NAMESPACE


@with_kubernetes
def test_every_pod_is_hardened(objects):
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        for volume in spec["volumes"]:
            assert "configMap" in volume or volume["emptyDir"]["sizeLimit"], name
        for container in spec.get("initContainers", []) + spec["containers"]:
            own = dict(container["securityContext"])
            assert own.pop("runAsUser", context["runAsUser"]) > 0, name
            own.pop("runAsGroup", None)
            assert own == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }, name
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}, name
    namespace = objects["Namespace", NAMESPACE]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"


@with_kubernetes
def test_resources_are_those_of_compose(project, objects):
    services = yaml.safe_load((project / "compose.yaml").read_text())["services"]
    for pod in pods(objects).values():
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            service = services[container["name"]]
            deploy = service.get("deploy", services["web"]["deploy"])
            compose, limits = deploy["resources"]["limits"], container["resources"]["limits"]
            cpus = float(limits["cpu"].removesuffix("m"))
            assert (cpus / 1000 if cpus > 10 else cpus) == float(compose["cpus"])
            assert limits["memory"] == compose["memory"].replace("m", "Mi")
            if "command" in container:
                command = [
                    word.replace("${WORKER_CONCURRENCY:-2}", "2") for word in service["command"]
                ]
                assert container["command"] == command


def named_ports(pod):
    """Return the ports of the containers of a pod, by name."""
    ports = [port for one in pod["spec"]["containers"] for port in one.get("ports", [])]
    return {port["name"]: port["containerPort"] for port in ports}


@with_kubernetes
def test_pods_are_not_restarted_because_something_else_hangs(objects):
    """All threads of a pod may wait for PostgreSQL: see test_frozen_database.py."""
    for container in pods(objects)["web"]["spec"]["containers"]:
        assert "tcpSocket" in container["livenessProbe"], container["name"]


@with_kubernetes
def test_references_have_targets(project, objects, chosen):
    settings, all_pods = settings_of(objects), pods(objects)
    web = named_ports(all_pods["web"])
    assert web == {"web": 8000} | ({"nginx": 8080} if chosen["use_nginx"] else {})
    for name, pod in all_pods.items():
        assert pod["metadata"]["labels"][COMPONENT] == name
        for container in pod["spec"]["containers"]:
            for probe in (container[one] for one in container if one.endswith("Probe")):
                if request := probe.get("httpGet"):
                    assert request["port"] in web
                    [host] = request["httpHeaders"]
                    assert host["value"] in settings["TRUSTED_HOSTS"].split(",")
                elif opened := probe.get("tcpSocket"):
                    assert opened["port"] in web
    for name, one in named(objects, "Deployment").items():
        assert one["spec"]["selector"]["matchLabels"] == {COMPONENT: name}
    for service in named(objects, "Service").values():
        assert service["spec"]["selector"] == {COMPONENT: "web"}
        assert service["spec"]["ports"][0]["targetPort"] in web
    front = "nginx" if chosen["use_nginx"] else "web"
    assert objects["Service", "web"]["spec"]["ports"][0]["targetPort"] == front
    [rule] = objects["Ingress", "web"]["spec"]["rules"]
    assert rule["host"] in settings["TRUSTED_HOSTS"].split(",")
    assert rule["http"]["paths"][0]["backend"]["service"] == {
        "name": "web",
        "port": {"name": "http"},
    }

    if chosen["use_nginx"]:
        templates = "".join(file.read_text() for file in (project / "nginx").glob("*.template"))
        assert set(re.findall(r"\$\{([A-Z_]+)\}", templates)) <= settings.keys()
    known = set(dotenv_values(project / ".env")) | set(
        re.findall(r"^# ([A-Z_]+)=", (project / ".env.example").read_text(), re.M)
    )
    assert settings.keys() - {"TRUSTED_NETWORK"} <= known


@with_kubernetes
def test_changed_configuration_of_nginx_replaces_the_pods(fresh, chosen, tmp_path):
    if not chosen["use_nginx"]:
        return
    project = shutil.copytree(fresh, tmp_path / "project")

    def volume():
        [web] = [o for o in render(project) if (o["kind"], o["metadata"]["name"]) == WEB_OBJECT]
        volumes = web["spec"]["template"]["spec"]["volumes"]
        return next(one["configMap"]["name"] for one in volumes if one["name"] == "nginx")

    names = [volume()]
    for file in sorted((project / "nginx").glob("[cnps]*.*")):
        if file.name != "kustomization.yaml":
            file.write_text(file.read_text() + "\n")
            names.append(volume())

    assert len(set(names)) == len(names) >= 7


@with_kubernetes
def test_only_necessary_connections_are_allowed(objects, chosen):
    policies = {name: one["spec"] for name, one in named(objects, "NetworkPolicy").items()}
    front = "nginx" if chosen["use_nginx"] else "web"

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    sources = [
        (rule["from"][0]["namespaceSelector"]["matchLabels"], rule["ports"])
        for rule in policies["web"]["ingress"]
    ]
    label = "kubernetes.io/metadata.name"
    monitoring = [({label: "monitoring"}, [{"port": "web"}])] if chosen["use_metrics"] else []
    assert sources == [({label: "traefik"}, [{"port": front}]), *monitoring]
    ports = [
        [p["port"] for p in rule["ports"]] for rule in policies.get("egress", {}).get("egress", [])
    ]
    stores = [[5432]] if chosen["use_postgres"] else []
    stores += [[465, 587]] if chosen["use_accounts"] else []
    stores += [[6379]] if chosen["use_redis"] or chosen["use_worker"] else []
    assert ports == ([[53, 53], *stores] if stores else [])


@with_kubernetes
def test_both_versions_together_have_enough_connections(project, objects, chosen):
    if not chosen["use_postgres"]:
        assert "WEB_THREADS" not in settings_of(objects)
        return
    threads = int(settings_of(objects)["WEB_THREADS"])
    [overflow] = re.findall(
        r'"max_overflow": (\d+)', (project / "my_service/core/database.py").read_text()
    )
    container, *_ = objects["Deployment", "web"]["spec"]["template"]["spec"]["containers"]
    workers = max(2, int(container["resources"]["limits"]["cpu"]))  # see config/gunicorn.py
    each = workers * (threads + int(overflow))
    old_and_new = 2 * objects["HorizontalPodAutoscaler", "web"]["spec"]["maxReplicas"]

    comment = (project / "deploy/kubernetes/scaling.yaml").read_text()
    assert f"up to {each} connections" in comment
    assert f"for {old_and_new} pods, {old_and_new * each} of" in comment
    # 3 are reserved for superusers; old and new worker, each with two processes; the migration
    assert old_and_new * each + 4 + 1 <= 100 - 3


@with_kubernetes
def test_pods_have_time_to_stop(project, objects, chosen):
    web = pods(objects)["web"]["spec"]
    waits = [one["lifecycle"]["preStop"]["sleep"]["seconds"] for one in web["containers"]]
    graceful = int(settings_of(objects)["GRACEFUL_TIMEOUT"])

    assert waits == sorted(waits, reverse=True)  # nginx stops before web
    assert web["terminationGracePeriodSeconds"] == waits[0] + graceful + 5
    if chosen["use_worker"]:
        limit = constants((project / "config/celery.py").read_text())["task_time_limit"]
        assert pods(objects)["worker"]["spec"]["terminationGracePeriodSeconds"] > limit


@with_kubernetes
def test_rollout_stops_no_pod_before_the_next_one_is_ready(objects, chosen):
    """But beat: two of them would enqueue each job of the schedule twice."""
    deployments = named(objects, "Deployment")
    web = deployments["web"]["spec"]

    assert web["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    for name, pod in pods(objects).items():
        for container in pod["spec"]["containers"] if name in deployments else []:
            assert "readinessProbe" in container, container["name"]
    if chosen["use_worker"]:
        assert deployments["beat"]["spec"]["strategy"] == {"type": "Recreate"}
        assert deployments["worker"]["spec"].get("strategy", {}) == {}  # one more, then one less


def images_of(manifests):
    """Return the image of each container, by the names of its object and itself."""
    return {
        (one["metadata"]["name"], container["name"]): container["image"]
        for one in manifests
        for container in containers_of(one)
    }


@with_kubernetes
def test_new_tag_replaces_the_image_of_each_pod(fresh, chosen, tmp_path):
    """nginx, too, can be named by the digest of its newest image, as docs/kubernetes.md says."""
    project = shutil.copytree(fresh, tmp_path / "project")
    before = images_of(render(project))
    file, digest = project / "deploy/kubernetes/kustomization.yaml", f"sha256:{'0' * 64}"
    text = file.read_text().replace("newTag: v0.1.0", "newTag: v0.2.0")
    file.write_text(text.replace('newTag: "1.30"', f"digest: {digest}"))

    after = images_of(render(project))

    assert after.keys() == before.keys()
    for name, image in after.items():
        new = f"-unprivileged@{digest}" if name[-1].startswith("nginx") else "/my_service:v0.2.0"
        assert image.endswith(new)
        assert image != before[name]


def answered(project):
    """Return the names of findings that a comment answers."""
    texts = [file.read_text() for file in (project / "deploy/kubernetes").glob("*.yaml")]
    comments = re.findall(r"#(.*)", "\n".join(texts))
    return set(re.findall(r"CKV_K8S_\d+|KSV-?\d+", " ".join(comments)))


all_options = pytest.mark.parametrize("project", EACH[:1], indirect=True)


@pytest.mark.weekly
@all_options
def test_checkov_finds_only_what_a_comment_answers(project, objects):
    command = f"uv tool run {CHECKOV} --framework=kubernetes --output=json --file=manifests.yaml"

    done = run(*command.split(), cwd=project, check=False)

    found = json.loads(done.stdout[done.stdout.index("{") :])["results"]
    failed = {check["check_id"] for check in found["failed_checks"]}
    assert len(found["passed_checks"]) > 300
    assert failed == {name for name in answered(project) if name.startswith("CKV")}


@all_options
def test_trivy_finds_only_what_a_comment_answers(project, objects, tmp_path):
    if not shutil.which("trivy"):
        pytest.skip("Trivy is missing: https://trivy.dev")
    shutil.copy(project / "manifests.yaml", tmp_path)

    done = subprocess.run(
        ["trivy", "config", "--quiet", "--format=json", tmp_path], capture_output=True, check=True
    )

    results = json.loads(done.stdout)["Results"]
    found = {one["ID"] for result in results for one in result.get("Misconfigurations", [])}
    assert {name.removeprefix("AVD-") for name in found} <= answered(project)


@contextmanager
def stand_in(folder, script):
    """Return a PATH on which ``kubectl`` is a script, which logs its arguments to ``calls``."""
    folder.mkdir()
    real = shutil.which("kubectl", path=ENVIRONMENT["PATH"])
    (folder / "kubectl").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\n{script}\nexec {real} "$@"\n'
    )
    (folder / "kubectl").chmod(0o755)
    yield f"{folder}{os.pathsep}{ENVIRONMENT['PATH']}"


ROLLOUT = [
    "kustomize deploy/kubernetes --output=manifests.yaml",
    "delete job migrate --ignore-not-found",
    f"apply --filename=manifests.yaml --selector={COMPONENT} notin (web, worker, beat)",
    "wait --for=jsonpath={.status.conditions[0].type} --timeout=11m job/migrate",
    "wait --for=condition=Complete --timeout=30s job/migrate",
    f"apply --filename=manifests.yaml --selector={COMPONENT} in (worker, beat)",
    "rollout status --timeout=10m deployment/worker",
    "rollout status --timeout=10m deployment/beat",
    "apply --filename=manifests.yaml",
    "rollout status --timeout=10m deployment/web",
]


@all_options
@pytest.mark.parametrize("fails", [None, "condition=Complete", "deployment/worker"])
def test_rollout_stops_at_the_first_failed_step(project, tmp_path, fails):
    script = f'case "$*" in *kustomize*) ;; *{fails}*) exit 1 ;; *) exit ;; esac'

    with stand_in(tmp_path / "bin", script) as path:
        done = run("make", "rollout", cwd=project, check=False, PATH=path)

    calls = (
        (tmp_path / "bin/calls").read_text().replace(f"--namespace={NAMESPACE} ", "").splitlines()
    )
    assert "passed for resource deployment/web against version 1.37" in done.stdout
    end = next((i for i, call in enumerate(ROLLOUT, 1) if fails and fails in call), len(ROLLOUT))
    logs = ["logs --tail=20 job/migrate"] if fails == "condition=Complete" else []
    assert calls == ROLLOUT[:end] + logs
    assert bool(done.returncode) is bool(fails)


@all_options
def test_make_manifests_refuses_a_misspelt_field(fresh, tmp_path):
    project = shutil.copytree(fresh, tmp_path / "project")
    change(
        project / "deploy/kubernetes/web.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem"
    )

    done = run("make", "manifests", cwd=project, check=False)

    assert done.returncode
    assert "readOnlyRootFileSystem" in done.stdout


@all_options
def test_kubectl_accepts_the_commands_of_the_document(project, tmp_path):
    """Nothing listens on this port: kubectl parses a command before it connects."""
    configuration = str(tmp_path / "kubectl")
    page = (project / "docs/kubernetes.md").read_text()
    typed = [c for c in commands(page) if c.startswith("kubectl ") and "--filename" not in c]
    typed += set(re.findall("`(kubectl [^`]+)`", page)) - {"kubectl create secret tls"}
    assert len(typed) >= 4

    for command in typed:
        words = [*shlex.split(command), "--server=http://127.0.0.1:9"]
        done = run(*words, cwd=project, check=False, KUBECONFIG=configuration)
        parsed = "connection refused", "no current context"
        assert [text for text in parsed if text in done.stdout], done.stdout


def test_document_describes_the_steps_that_are_tested(bake, tmp_path):
    """Those of the document run here as far as possible without a cluster and a registry."""
    project = bake(project_slug="corner_shop", use_kubernetes=True)
    generate, enter, *steps = commands((TEMPLATE / "docs/kubernetes.md").read_text())
    assert generate == (
        "cookiecutter gh:ORG/cookiecutter-flask-docker --no-input project_slug=corner_shop use_kubernetes=true"
    )
    assert enter == "cd corner_shop"
    assert steps == [
        "docker build --tag ghcr.io/owner/corner_shop:v0.1.0 --push .",
        "kubectl apply --filename=deploy/kubernetes/namespace.yaml",
        "kubectl create secret tls certificate --namespace=corner-shop --cert=certificate.pem --key=key.pem",
        "make secrets",
        "make rollout",
        "kubectl get pods --namespace=corner-shop",
        "curl https://shop.example.com/readyz",
    ]
    objects = render(project)

    images = {c["image"] for o in objects for c in containers_of(o)}
    assert images == {steps[0].split()[3], "nginxinc/nginx-unprivileged:1.30"}
    [ingress] = [one for one in objects if one["kind"] == "Ingress"]
    assert ingress["metadata"]["namespace"] == "corner-shop"
    assert ingress["spec"]["tls"][0]["secretName"] == "certificate"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(project / "certificate.pem")
    authority.private_key_pem.write_to_path(project / "key.pem")
    made = run("sh", "-c", f"{steps[2]} --dry-run=client --output=yaml", cwd=project).stdout
    assert yaml.safe_load(made)["type"] == "kubernetes.io/tls"


@all_options
def test_make_manifests_names_kubectl_if_it_is_missing(project, tmp_path):
    for name in ("sh", "sed", "uv", "make"):
        (tmp_path / name).symlink_to(shutil.which(name, path=ENVIRONMENT["PATH"]))

    done = run("make", "manifests", cwd=project, check=False, PATH=str(tmp_path))

    assert done.returncode
    assert (
        "\nkubectl is missing: see https://kubernetes.io/docs/tasks/tools/\n" in f"\n{done.stdout}"
    )
    assert "Traceback" not in done.stdout


def make_secrets(project, folder):
    """Run ``make secrets``, and return the Secret that it would apply."""
    with stand_in(folder, f'[ "$1" = apply ] && exec cat > {folder}/secret.yaml') as path:
        run("make", "secrets", cwd=project, PATH=path)
    return folder / "secret.yaml"


@with_kubernetes
def test_secrets_of_the_service_are_copied_and_no_others(fresh, chosen, tmp_path):
    project = shutil.copytree(fresh, tmp_path / "project")
    urls = {SECRETS[option]: f"x://{option}=" for option in SECRETS if chosen[option]}
    with (project / ".env").open("a") as file:
        file.writelines(f"{name}={url}\n" for name, url in urls.items() if name != "METRICS_TOKEN")

    secret = yaml.safe_load(make_secrets(project, tmp_path / "bin").read_text())

    assert secret["metadata"]["name"] == "secrets"
    generated = {"SECRET_KEY"} | ({"ACCOUNTS_KEY"} if chosen["use_accounts"] else set())
    assert secret["data"].keys() == {*generated, *urls}
    calls = (tmp_path / "bin/calls").read_text()
    apply = next(line.split() for line in calls.splitlines() if line.startswith("apply"))
    assert set(apply) == {"apply", "--server-side", f"--namespace={NAMESPACE}", "--filename=-"}
    assert dotenv_values(project / ".env")["SECRET_KEY"] not in calls


# Podman: ports of nginx and web on loopback, and of the databases on the bridge of Docker
FRONT, WEB, POSTGRES, REDIS = 18700, 18701, 18710, 18711
STORES = {
    unique_name("kube-postgres"): f"{POSTGRES}:5432 postgres:18-trixie",
    unique_name("kube-redis"): f"{REDIS}:6379 redis:8.8 redis-server --requirepass only-for-tests",
}
PASSWORDS = ["--env=POSTGRES_PASSWORD=only-for-tests", "--env=POSTGRES_DB=kube"]
NGINX = "nginxinc/nginx-unprivileged:1.30"
WORKLOADS = ["migrate", "web", "worker", "beat"]
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
}


def call(command, check=True):
    """Run a command, and return what it did."""
    return run(
        *shlex.split(command), cwd=TEMPLATE, check=check, PODMAN_IGNORE_CGROUPSV1_WARNING="1"
    )


def delete():
    """Delete the pods and databases of this or of an earlier run."""
    call("docker rm --force --volumes " + " ".join(STORES), check=False)
    for name in WORKLOADS:
        call(f"podman pod rm --force --ignore {unique_name('kube')}-{name}-pod")
    call("podman secret rm --ignore secrets")


def start_stores(address):
    """Start PostgreSQL and Redis outside of the pods."""
    for name, what in STORES.items():
        call(f"docker run --detach --name={name} {' '.join(PASSWORDS)} --publish={address}:{what}")
    ready = f"docker exec {min(STORES)} pg_isready --host=127.0.0.1"
    wait_for(lambda: not call(ready, check=False).returncode, 60)


def load(stack):
    """Build the images with Docker, and load those that Podman does not have yet."""
    stack.compose("build", "web")
    names = {f"{stack.name}-web": f"localhost/{stack.name}-web:v1", NGINX: f"docker.io/{NGINX}"}
    for name, tag in names.items():
        image = call(f"docker image inspect --format={{{{.Id}}}} {name}").stdout.strip()
        if call(f"podman image exists {image}", check=False).returncode:
            call(f"sh -c 'docker save {name} | podman load'")
        call(f"podman tag {image.removeprefix('sha256:')} {tag}")


def configure(stack, address):
    """Change what docs/kubernetes.md names in ``kustomization.yaml`` and ``.env``."""
    file = stack.project / "deploy/kubernetes/kustomization.yaml"
    change(file, "newName: nginxinc", "newName: docker.io/nginxinc")
    change(file, f"ghcr.io/owner/{SLUG}", f"localhost/{stack.name}-web")
    change(file, "v0.1.0", "v1")
    change(file, "TRUSTED_HOSTS=example.com", "TRUSTED_HOSTS=127.0.0.1")
    change(file, "TRUSTED_NETWORK=10.0.0.0/8", "TRUSTED_NETWORK=127.0.0.1")
    change(file, "resources:", f"namePrefix: {stack.name}-\nresources:")
    with (stack.project / ".env").open("a") as settings:
        settings.write(
            f"DATABASE_URL=postgresql+psycopg://postgres:only-for-tests@{address}:{POSTGRES}/kube\n"
            f"REDIS_URL=redis://:only-for-tests@{address}:{REDIS}/0\n"
            f"QUEUE_URL=redis://:only-for-tests@{address}:{REDIS}/1\n"
        )


def play(stack, objects, name, *options):
    """Start the pod of an object. Podman runs probes with curl, which the images do not contain."""
    [workload] = [
        o for o in objects if o["metadata"]["name"] == name and o["kind"] in ("Job", "Deployment")
    ]
    for container in workload["spec"]["template"]["spec"]["containers"]:
        for probe in [key for key in container if key.endswith("Probe")]:
            del container[probe]
    file = stack.project / f"{name}.yaml"
    file.write_text(
        yaml.safe_dump_all([*(o for o in objects if o["kind"] == "ConfigMap"), workload])
    )
    call(f"podman kube play {' '.join(options)} {file}")


@pytest.fixture(scope="module")
def cluster(bridge, cookies_session, tmp_path_factory):
    """Run the migration, web, worker and beat in Podman."""
    version = re.search(
        r"(\d+)\.(\d+)", call("podman --version").stdout if shutil.which("podman") else ""
    )
    if not version or tuple(map(int, version.groups())) < (5, 3):
        pytest.skip("Podman 5.3 or later is missing, which runs Jobs: apt-get install podman")
    delete()
    with temporary_stack(cookies_session, EVERYTHING, "kube", FRONT) as stack:
        load(stack)
        configure(stack, bridge)
        call(
            f"podman kube play {make_secrets(stack.project, tmp_path_factory.mktemp('kube') / 'bin')}"
        )
        try:
            start_stores(bridge)
            publish = [f"--publish=127.0.0.1:{FRONT}:8080", f"--publish=127.0.0.1:{WEB}:8000"]
            for name in WORKLOADS:
                play(
                    stack,
                    render(stack.project),
                    f"{stack.name}-{name}",
                    *(publish if name == "web" else []),
                )
                if name == "migrate":
                    assert call(f"podman wait {inside(stack, name)}").stdout == "0\n"
            report(
                f"pods: ready after {wait_for(lambda: stack.get('/readyz').status == 200, 60):.1f} s"
            )
            yield stack
        finally:
            delete()


def inside(stack, name, container=None):
    """Return the name that Podman gives to a container of a pod."""
    return f"{stack.name}-{name}-pod-{container or name}"


def request(port, path, **headers):
    """Return a response; the default host is that of the health checks."""
    given = {"Host": "localhost", "Connection": "close"} | headers
    return requests.get(f"http://127.0.0.1:{port}{path}", headers=given, timeout=10)


def probes(workloads):
    """Return workload, container and probe for each probe."""
    for one in workloads:
        for container in containers_of(one):
            for key in container:
                if key.endswith("Probe"):
                    yield one["metadata"]["name"], container["name"], container[key]


class TestPods:
    """The pods with their sidecar, from the rendered manifests and the images that Docker built."""

    pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

    def test_page_and_static_files_are_served(self, cluster):
        page = request(FRONT, "/")
        [style] = re.findall(r'href="(/static/v\w+/style.css)"', page.text)
        file = request(FRONT, style, **{"Accept-Encoding": "gzip"})

        assert "<h1>My Service</h1>" in page.text
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert file.headers["Content-Encoding"] == "gzip"
        assert style not in call(f"podman logs {inside(cluster, 'web')}").stdout  # nginx served it
        assert request(FRONT, "/metrics").status_code == 404
        assert request(WEB, "/metrics").status_code == 401

    def test_note_is_stored(self, cluster):
        made = cluster.get("/notes", "POST", {"title": "Kubernetes", "body": "one two three"})

        assert made.status == 201, made.text
        assert json.loads(cluster.get(made.getheader("Location")).text)["title"] == "Kubernetes"

    def test_job_runs_in_the_worker(self, cluster):
        package = cluster.project.name
        celery = f"celery --app {package}.make_celery call {package}.tasks.example"
        call(f"podman exec {inside(cluster, 'web')} {celery} --args='[\"from web\"]'")

        logs = f"podman logs {inside(cluster, 'worker')}"
        wait_for(lambda: "example: from web" in call(logs).stdout, 60)

    def test_probes_succeed(self, cluster):
        ports = {"web": WEB, "nginx": FRONT}
        workloads = [one for one in render(cluster.project) if one["kind"] == "Deployment"]
        for name, container, probe in probes(workloads):
            if asked := probe.get("httpGet"):
                assert request(ports[asked["port"]], asked["path"]).status_code == 200
            elif command := probe.get("exec"):
                program = shlex.join(command["command"])
                execute = f"podman exec {name}-pod-{container} {program}"
                wait_for(lambda e=execute: not call(e, check=False).returncode, 30)
            else:
                port = ports[probe["tcpSocket"]["port"]]
                socket.create_connection(("127.0.0.1", port), timeout=5).close()

    @pytest.mark.parametrize(
        "forged", [FORGED, {**FORGED, "Forwarded": "for=203.0.113.9;proto=https"}]
    )
    def test_forged_headers_are_ignored(self, cluster, forged):
        response = request(FRONT, "/?forged", **forged)

        line = json.loads(call(f"podman logs --tail=1 {inside(cluster, 'web')}").stdout)
        assert response.status_code == 200
        assert "Strict-Transport-Security" not in response.headers
        assert line["remote_addr"] != "203.0.113.9"
        assert line["request_id"] == response.headers["X-Request-ID"]

    def test_headers_of_the_trusted_network_are_read(self, cluster):
        ask = (
            "import urllib.request as u\n"
            f"a = u.urlopen(u.Request('http://127.0.0.1:8080/', headers={FORGED | {'Host': 'localhost'}}))\n"
            "print(a.headers['Strict-Transport-Security'])"
        )
        printed = call(f"podman exec {inside(cluster, 'web')} python -c {shlex.quote(ask)}").stdout

        line = json.loads(call(f"podman logs --tail=1 {inside(cluster, 'web')}").stdout)
        assert printed.startswith("max-age=")
        assert line["remote_addr"] == "203.0.113.9"

    def test_other_hosts_are_refused(self, cluster):
        assert request(FRONT, "/", Host="evil.example").status_code == 400

    @pytest.mark.parametrize(
        ("name", "container", "user"),
        [
            ("web", "web", 10001),
            ("web", "nginx", 101),
            ("worker", "worker", 10001),
            ("beat", "beat", 10001),
        ],
    )
    def test_container_is_hardened(self, cluster, name, container, user):
        script = "cat /proc/1/status; touch /canary; touch /tmp/canary && echo stored"

        done = call(f"podman exec {inside(cluster, name, container)} sh -c '{script}'").stdout

        status = dict(re.findall(r"^(\w+):\t(.*)$", done, re.M))
        assert status["Uid"].split() == status["Gid"].split() == [str(user)] * 4
        assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert "Read-only file system" in done
        assert "\nstored\n" in done

    def test_schedule_is_run(self, cluster):
        logs = f"podman logs {inside(cluster, 'worker')}"
        wait_for(lambda: "example: once a minute" in call(logs).stdout, 70)

    @pytest.mark.parametrize("name", ["web", "worker", "beat"])
    def test_pod_stops_within_its_grace_period(self, cluster, name):
        begun = time.monotonic()
        call(f"podman pod stop --time=30 {cluster.name}-{name}-pod")

        assert time.monotonic() - begun < 25
        states = call(
            f"podman ps --all --filter=pod={cluster.name}-{name}-pod --format='{{{{.ExitCode}}}}'"
        )
        assert set(states.stdout.split()) == {"0"}

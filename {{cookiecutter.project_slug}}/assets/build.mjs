// Writes static/built/app.js and app.css; with --watch, again whenever a file is saved.

{% if cookiecutter.frontend == "vue" or cookiecutter.use_tailwind %}
import { readFile } from "node:fs/promises";
{% endif %}
{% if cookiecutter.use_tailwind %}
import tailwindcss from "@tailwindcss/postcss";
{% endif %}
import * as esbuild from "esbuild";
{% if cookiecutter.use_tailwind %}
import postcss from "postcss";
{% endif %}
{% if cookiecutter.frontend == "vue" %}
import { compileScript, parse } from "vue/compiler-sfc";
{% endif %}

const watch = process.argv.includes("--watch");
{% if cookiecutter.use_tailwind %}

const tailwind = {
  name: "tailwind",
  setup({ onLoad }) {
    const watched = { watchFiles: [], watchDirs: [] }; // what it reads, and looks for classes in
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      try {
        const source = await readFile(path);
        const { css, messages } = await postcss([tailwindcss()]).process(source, { from: path });
        const files = messages.filter(({ type }) => type === "dependency");
        const folders = messages.filter(({ type }) => type === "dir-dependency");
        watched.watchFiles = files.map(({ file }) => file);
        watched.watchDirs = folders.map(({ dir }) => dir);
        return { contents: css, loader: "css", ...watched };
      } catch (error) {
        return { errors: [{ text: error.message }], ...watched };
      }
    });
  },
};
{% endif %}
{% if cookiecutter.frontend == "vue" %}

// Components with <script setup> and <template>; their styles belong in css/app.css.
const vue = {
  name: "vue",
  setup({ onLoad }) {
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      try {
        const { descriptor, errors } = parse(await readFile(path, "utf8"), { filename: path });
        if (errors.length) throw errors[0];
        return { contents: compileScript(descriptor, { id: path, inlineTemplate: true }).content };
      } catch (error) {
        return { errors: [{ text: error.message }] };
      }
    });
  },
};
{% endif %}

const options = {
  entryPoints: ["js/app.{{ "jsx" if cookiecutter.frontend == "react" else "js" }}"],
  outdir: "../{{ cookiecutter.project_slug }}/static/built",
  bundle: true,
  format: "esm",
  minify: !watch,
  sourcemap: watch,
  assetNames: "[name]-[hash]", // of files that CSS refers to
  loader: { ".jpg": "file", ".png": "file", ".svg": "file", ".webp": "file", ".woff2": "file" },
{% if cookiecutter.frontend == "react" %}
  jsx: "automatic",
{% elif cookiecutter.frontend == "vue" %}
  define: {
    __VUE_OPTIONS_API__: "false",
    __VUE_PROD_DEVTOOLS__: "false",
    __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false",
  },
{% endif %}
{% if cookiecutter.frontend == "vue" and cookiecutter.use_tailwind %}
  plugins: [tailwind, vue],
{% elif cookiecutter.use_tailwind %}
  plugins: [tailwind],
{% elif cookiecutter.frontend == "vue" %}
  plugins: [vue],
{% endif %}
  logLevel: "info",
};

if (watch) {
  await (await esbuild.context(options)).watch();
} else {
  await esbuild.build(options).catch(() => process.exit(1)); // it has printed the error
}

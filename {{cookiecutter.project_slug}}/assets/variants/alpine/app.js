// The entry of the bundle: import scripts, styles and packages here.
import "../css/app.css";
import Alpine from "@alpinejs/csp"; // the build for a policy without unsafe-eval

// The example on the home page
Alpine.data("greeting", () => ({
  name: "",
  text: "",

  init() {
    this.text = this.$root.dataset.text;
  },

  async greet() {
    const query = new URLSearchParams({ name: this.name });
    const response = await fetch(`${this.$root.dataset.url}?${query}`);
    this.text = (await response.json()).text;
  },
}));

Alpine.start();

// The entry of the bundle: import scripts, styles and packages here.
import "../css/app.css";
import { Application, Controller } from "@hotwired/stimulus";
import "@hotwired/turbo";

const application = Application.start();

// The example on the home page
application.register(
  "autosubmit",
  class extends Controller {
    submit() {
      clearTimeout(this.timeout);
      this.timeout = setTimeout(() => this.element.requestSubmit(), 200);
    }
  },
);

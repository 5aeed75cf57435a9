// The entry of the bundle: import scripts, styles and packages here.
import "../css/app.css";
import $ from "jquery";

// The example on the home page
$("#greet").on("submit", async (event) => {
  event.preventDefault();
  const form = $(event.currentTarget);
  const { text } = await $.getJSON(form.attr("action"), form.serialize());
  $("#greeting").text(text);
});

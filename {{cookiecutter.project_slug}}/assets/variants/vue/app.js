// The entry of the bundle: import scripts, styles and packages here.
import "../css/app.css";
import { createApp } from "vue";
import Greeting from "./Greeting.vue";

// The example on the home page
const element = document.querySelector("#greeting");
if (element) createApp(Greeting, { ...element.dataset }).mount(element);

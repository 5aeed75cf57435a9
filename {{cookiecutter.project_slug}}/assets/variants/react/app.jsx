// The entry of the bundle: import scripts, styles and packages here.
import "../css/app.css";
import { createRoot } from "react-dom/client";
import { Greeting } from "./Greeting.jsx";

// The example on the home page
const element = document.querySelector("#greeting");
if (element) createRoot(element).render(<Greeting {...element.dataset} />);

// The entry of the bundle: import scripts, styles and packages here.
import "../css/app.css";

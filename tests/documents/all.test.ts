import "./coming_from.spec.ts";
import "./programs.spec.ts";
import "./recipes.spec.ts";

import "./experiment.spec.ts";
import "./format.spec.ts";
import "./oracle.spec.ts";
import "./settings.spec.ts";

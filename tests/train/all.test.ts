import "./cli.spec.ts";
import "./curve.spec.ts";
import "./layers.spec.ts";
import "./library.spec.ts";
import "./model.spec.ts";
import "./optimizer.spec.ts";
import "./options.spec.ts";
import "./train.spec.ts";

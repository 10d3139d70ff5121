import "./cli.spec.ts";
import "./model.spec.ts";
import "./options.spec.ts";
import "./printer.spec.ts";
import "./sample.spec.ts";
import "./text.spec.ts";

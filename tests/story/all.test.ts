import "./cli.spec.ts";
import "./options.spec.ts";
import "./page.spec.ts";
import "./results.spec.ts";
import "./traffic.spec.ts";

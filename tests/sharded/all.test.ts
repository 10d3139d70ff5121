import "./cache.spec.ts";
import "./faults.spec.ts";
import "./messages.spec.ts";

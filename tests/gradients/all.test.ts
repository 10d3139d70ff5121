import "./faults.spec.ts";
import "./life_cycle.spec.ts";
import "./numbers.spec.ts";
import "./options.spec.ts";
import "./storage.spec.ts";
import "./sync.spec.ts";
import "./threads.spec.ts";
import "./webgpu.spec.ts";

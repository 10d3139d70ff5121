import "./gradients.spec.ts";
import "./linear.spec.ts";
import "./norms.spec.ts";
import "./refusal.spec.ts";
import "./resident.spec.ts";
import "./rows.spec.ts";
import "./sampling.spec.ts";

import "./backward.spec.ts";
import "./cache.spec.ts";
import "./error.spec.ts";
import "./extremes.spec.ts";
import "./parts.spec.ts";
import "./presentation.spec.ts";
import "./splits.spec.ts";
import "./terms.spec.ts";

import "./cache.spec.ts";
import "./faults.spec.ts";
import "./messages.spec.ts";
import "./rebalance.spec.ts";
import "./refusals.spec.ts";
import "./session.spec.ts";
import "./shard.spec.ts";
import "./webgpu.spec.ts";

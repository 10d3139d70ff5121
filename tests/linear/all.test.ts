import "./convolution.spec.ts";
import "./convolution_state.spec.ts";
import "./local_global_state.spec.ts";
import "./performer.spec.ts";
import "./refusal.spec.ts";

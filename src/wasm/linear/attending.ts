/**
 * Who does on Wasm what attends in linear time: loaded when it is first asked for.
 *
 * @module
 */

export { linformerAttention, linformerGradients } from "./linformer.ts";
export { localGlobalAttention, localGlobalGradients } from "./local_global.ts";
export { stepLocalGlobal } from "./local_global_step.ts";

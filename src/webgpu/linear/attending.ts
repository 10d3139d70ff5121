/**
 * Who does on a GPU what attends in linear time: loaded when it is first asked for.
 *
 * @module
 */

export { linformerAttention } from "./linformer.ts";
export { localGlobalAttention, stepLocalGlobal } from "./local_global.ts";

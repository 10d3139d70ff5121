// Makes a pipeline of each file that is named, on the adapter that there is: the driver prints what it compiled between the
// lines that are printed here. `WEBGPU` is the npm package `webgpu`. Run by Node, under Mesa's loader.

import { readFileSync, writeSync } from "node:fs";
import process from "node:process";

const { create } = await import(process.env.WEBGPU);
const gpu = create([]);
globalThis.gpu = gpu; // Collected, it would take the process with it.

const tell = (line) => writeSync(2, `\n@@@ ${line}\n`);

const limits = [
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
];

const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error("the driver has no adapter");
const device = await adapter.requestDevice({
  requiredFeatures: ["subgroups"].filter((name) => adapter.features.has(name)),
  requiredLimits: Object.fromEntries(limits.map((name) => [name, adapter.limits[name]])),
});
for (const path of process.argv.slice(2)) {
  tell(`shader ${path}`);
  try {
    const module = device.createShaderModule({ code: readFileSync(path, "utf8") });
    await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
    tell("compiled");
  } catch (error) {
    tell(`failed ${error.message}`);
  }
}
process.exit(0);

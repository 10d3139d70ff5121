/**
 * A child process of the bench: `child.ts ORDER [PACKAGE]` measures what is ordered on the device of
 * this runtime, and prints each event as a line of JSON. `PACKAGE` is the file of the npm package
 * `webgpu`, for runtimes that have no WebGPU of their own.
 *
 * @module
 */

import process from "node:process";
import { pathToFileURL } from "node:url";
import { requestGpu } from "../../src/webgpu/device/device.ts";
import { measure } from "./measure.ts";
import { type Event, type Order, reasonOf } from "./report.ts";

const [orderText, packageFile] = process.argv.slice(2);

function tell(event: Event): Promise<void> {
  // Waited for: what is under way when the process ends would be lost.
  return new Promise((resolve) => {
    process.stdout.write(`${JSON.stringify(event)}\n`, () => resolve());
  });
}

/** Referenced to the end: the package's adapters die with it, and the process with them. */
let gpu: GPU | undefined = globalThis.navigator?.gpu;

try {
  if (packageFile !== undefined) {
    const { create } = await import(pathToFileURL(packageFile).href) as {
      create(options: string[]): GPU;
    };
    gpu = create([]);
  }
  await measure(await requestGpu(gpu), JSON.parse(orderText) as Order, tell);
} catch (error) {
  await tell({ kind: "missing", missing: { what: "device", reason: reasonOf(error) } });
}
// Devices keep some runtimes alive.
process.exit(0);

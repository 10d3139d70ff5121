import { gpuTest } from "../support/device.ts";
import {
  assertEndsWithDevice,
  assertRightOrRefused,
  type Operation,
  rows,
} from "../support/faults.ts";
import { normals, seeded } from "../support/random.ts";

const x = rows(2, 20, 7);

const differentiate: Operation = async (engine) => {
  const bias = { data: normals(20, seeded(8)), shape: [1, 20] };
  const sinks = { data: new Float32Array(2), shape: [2] };
  const { out, backward } = await engine.attentionWithGradient(x, x, x, { bias, sinks });
  const { dq, dk, dv, dBias, dSinks } = await backward(out);
  return [dq.data, dk.data, dv.data, dBias!.data, dSinks!.data];
};

gpuTest(
  "gradients: right or refused, whatever the device refuses",
  () => assertRightOrRefused(differentiate),
);

gpuTest(
  "gradients: ended by a device lost at any of its calls, done by the next",
  () => assertEndsWithDevice(differentiate, ["lose and hang", "lose and go on"]),
);

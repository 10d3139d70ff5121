import { test } from "node:test";
import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Tensor } from "@flashtile/attention";
import { KeyValueStore } from "../../examples/llama/key_value_store.ts";

/** The elements of a rank 3 view, in order. */
function elements({ data, shape, strides, offset = 0 }: Tensor): number[] {
  const list: number[] = [];
  for (let h = 0; h < shape[0]; h++) {
    for (let n = 0; n < shape[1]; n++) {
      for (let d = 0; d < shape[2]; d++) {
        list.push(data[offset + h * strides![0] + n * strides![1] + d * strides![2]]);
      }
    }
  }
  return list;
}

test("KeyValueStore.append() gives views [Hkv, Nk, D] of old and new rows", () => {
  const store = new KeyValueStore(1, 2, 5, 2);
  store.append(0, Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), new Float32Array(8), 2);
  store.advance(2);
  const { k, v } = store.append(0, Float32Array.of(9, 10, 11, 12), new Float32Array(4).fill(-1), 1);
  assertEquals(k.shape, [2, 3, 2]);
  assertEquals(elements(k), [1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]);
  assertEquals(elements(v), [0, 0, 0, 0, -1, -1, 0, 0, 0, 0, -1, -1]);
});

test("KeyValueStore.append() views the same array at every step", () => {
  const store = new KeyValueStore(2, 1, 4, 2);
  const before = store.append(1, new Float32Array(2), new Float32Array(2), 1);
  store.advance(1);
  const after = store.append(1, new Float32Array(2), new Float32Array(2), 1);
  assertStrictEquals(after.k.data, before.k.data);
});

test("KeyValueStore keeps layers apart and counts tokens once for all of them", () => {
  const store = new KeyValueStore(2, 1, 4, 1);
  store.append(0, Float32Array.of(1), Float32Array.of(2), 1);
  const { k } = store.append(1, Float32Array.of(3), Float32Array.of(4), 1);
  assertEquals(elements(k), [3]);
  assertEquals(store.length, 0);
  store.advance(1);
  assertEquals(store.length, 1);
});

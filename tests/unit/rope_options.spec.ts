import { ropeOptions } from "@flashtile/attention";
import { assertEquals, assertThrows } from "@std/assert";
import { test } from "node:test";

const sizes = { hidden_size: 96, num_attention_heads: 6, max_position_embeddings: 4096 };

test("a config that says nothing has the defaults of rope()", () => {
  assertEquals(ropeOptions({}), { theta: 10_000 });
  assertEquals(ropeOptions({ rope_theta: 5e5, rope_scaling: null }), { theta: 5e5 });
});

test("a rotation for each kind of layers is found in both spellings", () => {
  const full = { rope_theta: 1e6, rope_type: "linear", factor: 8 };
  const now = { rope_parameters: { full_attention: full, sliding_attention: { rope_theta: 1e4 } } };
  const older = {
    ...{ rope_theta: 1e6, rope_local_base_freq: 1e4 },
    rope_scaling: { rope_type: "linear", factor: 8 },
  };
  for (const config of [now, older]) {
    const scaling = { type: "linear", factor: 8 } as const;
    assertEquals(ropeOptions(config, { layerType: "full_attention" }), { theta: 1e6, scaling });
    assertEquals(ropeOptions(config, { layerType: "sliding_attention" }), { theta: 1e4 });
    for (const layerType of [undefined, "linear_attention", "toString"]) {
      assertThrows(
        () => ropeOptions(config, { layerType }),
        RangeError,
        "`layerType` must be one of full_attention, sliding_attention, got",
      );
    }
  }
  const bert = { global_rope_theta: 160_000, local_rope_theta: 10_000 };
  assertEquals(ropeOptions(bert, { layerType: "full_attention" }), { theta: 160_000 });
  assertEquals(ropeOptions(bert, { layerType: "sliding_attention" }), { theta: 10_000 });
  // `null` for the base that global layers have.
  const alone = { ...bert, local_rope_theta: null };
  assertEquals(ropeOptions(alone, { layerType: "sliding_attention" }), { theta: 160_000 });
});

test("one rotation for all holds for every kind of layers", () => {
  assertEquals(ropeOptions({ rope_theta: 7 }, { layerType: "sliding_attention" }), { theta: 7 });
});

test("rows that are turned in part are a part of a head, rounded down", () => {
  assertEquals(ropeOptions({ ...sizes, partial_rotary_factor: 0.4 }).dims, 6);
  assertEquals(ropeOptions({ ...sizes, head_dim: 64, partial_rotary_factor: 0.25 }).dims, 16);
  const rope_parameters = { rope_type: "default", partial_rotary_factor: 0.5 };
  assertEquals(ropeOptions({ ...sizes, rope_parameters }).dims, 8);
});

test("Phi-3's first configs say `su`, and the trained length beside", () => {
  const [short_factor, long_factor] = [[1, 2], [3, 4]];
  const rope_scaling = { type: "su", short_factor, long_factor };
  const config = { ...sizes, original_max_position_embeddings: 1024, rope_scaling };
  const attentionFactor = Math.sqrt(1 + Math.log(4) / Math.log(1024));
  const of = (factors: number[]) => ({
    ...{ theta: 10_000, scaling: { type: "longrope", factors, attentionFactor } },
  });
  assertEquals(ropeOptions(config), of(short_factor));
  assertEquals(ropeOptions(config, { length: 1024 }), of(short_factor));
  assertEquals(ropeOptions(config, { length: 1025 }), of(long_factor));
});

test("YaRN without a factor has that of both lengths; of one, rows stay as long as they are", () => {
  const yarn = { type: "yarn", original_max_position_embeddings: 1024 };
  const { scaling } = ropeOptions({ ...sizes, rope_scaling: yarn });
  assertEquals((scaling as { factor: number }).factor, 4);
  const one = ropeOptions({ rope_scaling: { ...yarn, factor: 1 } }).scaling;
  assertEquals((one as { attentionFactor: number }).attentionFactor, 1);
});

test("what cannot be read is refused by its name", () => {
  const refused = (config: unknown, kind: new () => Error, message: string, options = {}) => {
    assertThrows(() => ropeOptions(config as object, options), kind, message);
  };
  for (const config of [null, "{}", 3, [], undefined]) {
    refused(config, TypeError, "`config` must be an object, got");
  }
  const of = (rope_scaling: object) => ({ ...sizes, rope_scaling });
  refused(of({ type: "x" }), RangeError, "`rope_type` must be one of default, linear, dynamic");
  refused(of({ type: "linear" }), TypeError, "`factor` must be a number, got undefined");
  refused(of({ type: "linear", factor: "8" }), TypeError, '`factor` must be a number, got "8"');
  refused(of({ type: "llama3", factor: NaN }), TypeError, "`factor` must be a number, got NaN");
  refused({ rope_theta: "1e6" }, TypeError, '`rope_theta` must be a number, got "1e6"');
  refused({ partial_rotary_factor: 0.5 }, TypeError, "`hidden_size` must be a number");
  refused({ rope_scaling: { type: "dynamic", factor: 2 } }, TypeError, "`max_position_embeddings`");
  refused({}, RangeError, "`length` must be a whole number, got -1", { length: -1 });
  refused({}, TypeError, "unknown option `layer`", { layer: 1 });
});

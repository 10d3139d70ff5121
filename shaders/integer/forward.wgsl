// What shaders/forward.wgsl has besides where products are formed by bytes: those of queries and keys, and
// with BYTES those of weights and values. BYTE_SLICE times 16 dims are in workgroup memory at once.

#import integer/places.wgsl

/// Bytes of keys and queries, 16 to a vector, [vector][key] and [vector][row].
var<workgroup> key_slice: array<vec4u, BYTE_SLICE * BC>;
var<workgroup> query_slice: array<vec4u, BYTE_SLICE * BR>;
#if BYTES
/// Weights of four rows, four keys in a word that are BC / 4 apart, [tx][ty]; the sums of these weights
/// before they were rounded; and values, [word][vector].
var<workgroup> weight_bytes: array<vec4u, TX * TY>;
var<workgroup> weight_sums: array<vec4f, TX * TY>;
var<workgroup> value_slice: array<vec4u, BC / 4 * VALUES>;
#end

fn stage_bytes(lid: u32, keys: u32, queries: u32, last: u32, start: u32) {
  for (var t = 0u; t < BYTE_SLICE * BC / THREADS; t++) {
    let i = lid + t * THREADS;
    let word = 4 * (start + i % BYTE_SLICE);
    key_slice[i % BYTE_SLICE * BC + i / BYTE_SLICE] =
      select(vec4u(0), words_at(keys + i / BYTE_SLICE * byte_words() + word), word < byte_words());
  }
  for (var t = 0u; t < BYTE_SLICE * BR / THREADS; t++) {
    let i = lid + t * THREADS;
    let row = min(i / BYTE_SLICE, last);
    let at = queries + row * (byte_words() + 4) + 4 + 4 * (start + i % BYTE_SLICE);
    query_slice[i % BYTE_SLICE * BR + i / BYTE_SLICE] =
      select(vec4u(0), words_at(at), 4 * (start + i % BYTE_SLICE) < byte_words());
  }
}

#if BYTES
fn stage_value_bytes(lid: u32, values: u32, word: u32, start: u32) {
  for (var i = lid; i < BC / 4 * VALUES; i += THREADS) {
    let vector = start + i % VALUES;
    let at = values + 4 * ((word + i / VALUES) * value_vectors() + vector);
    value_slice[i] = select(vec4u(0), words_at(at), vector < value_vectors());
  }
}
#end

/// Whether some query of a segment is for f32.
fn has_exact_queries(index: u32, head: u32) -> bool {
  return tables[exact_at(index, head)] != 0;
}

fn dot_bytes(a: vec4u, b: vec4u) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) +
    dot4I8Packed(a.w, b.w);
}

/// Products of four rows' words with one.
fn dot_rows(rows: vec4u, word: u32) -> vec4i {
  return vec4i(
    dot4I8Packed(rows.x, word),
    dot4I8Packed(rows.y, word),
    dot4I8Packed(rows.z, word),
    dot4I8Packed(rows.w, word),
  );
}

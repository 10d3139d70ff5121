// Scores by bytes; those of rows and tiles that are no integers by f32, as in shaders/forward.wgsl.
    let key_in_range = first - p.keys_begin;
    let integers = tile_at(segment, group_id.z, head, key_in_range / TILE);
    let key_in_tile = key_in_range % TILE;
    let has_integers = tables[integers] != 0;
    let queries_at = query_at(segment, group_id.z, head, first_row);
    let levels_at = vec4u(queries_at) + (rows_0 - first_row) * (byte_words() + 4);
    let exact = (bitcast<vec4u>(table_four(levels_at + 3)) != vec4u(0)) | vec4<bool>(!has_integers);
    let needs_exact = !has_integers || has_exact_queries(group_id.z, head);
    if (needs_exact) {
      for (var start = 0u; start < p.dim_vectors; start += SLICE) {
        workgroupBarrier();
        stage_keys(lid, k_base, list, means, first, part_end, start);
        workgroupBarrier();
        for (var d = 0u; d < SLICE; d++) {
          let q_0 = load_q(q_rows.x, start + d, p.dim);
          let q_1 = load_q(q_rows.y, start + d, p.dim);
          let q_2 = load_q(q_rows.z, start + d, p.dim);
          let q_3 = load_q(q_rows.w, start + d, p.dim);
#for j in RK
          let k_$j = slice[d * (BC + 1) + tx + $j * TX];
          s_$j_0 += vec4f(dot(q_0, k_$j), dot(q_1, k_$j), dot(q_2, k_$j), dot(q_3, k_$j));
#end
        }
      }
    }
    if (has_integers) {
#for j in RK
      var sum_of_$j = vec4i(0);
#end
      let keys_at = key_bytes_at(integers) + key_in_tile * byte_words();
      for (var start = 0u; 4 * start < byte_words(); start += BYTE_SLICE) {
        workgroupBarrier();
        stage_bytes(lid, keys_at, queries_at, last_row - first_row, start);
        workgroupBarrier();
        for (var d = 0u; d < BYTE_SLICE; d++) {
          let q_0 = query_slice[d * BR + 4 * ty];
          let q_1 = query_slice[d * BR + 4 * ty + 1];
          let q_2 = query_slice[d * BR + 4 * ty + 2];
          let q_3 = query_slice[d * BR + 4 * ty + 3];
#for j in RK
          let k_$j = key_slice[d * BC + tx + $j * TX];
          sum_of_$j += vec4i(
            dot_bytes(q_0, k_$j),
            dot_bytes(q_1, k_$j),
            dot_bytes(q_2, k_$j),
            dot_bytes(q_3, k_$j),
          );
#end
        }
      }
      let scale = table_four(levels_at);
      let zero = table_four(levels_at + 1);
      let shift = table_four(levels_at + 2);
      let scales_at = key_scales_at(integers) + key_in_tile + tx;
#for j in RK
      {
        let key_scale = bitcast<f32>(tables[scales_at + $j * TX]);
        let key_sum = bitcast<f32>(tables[scales_at + $j * TX + TILE]);
        let steps = (vec4f(sum_of_$j) + zero * key_sum) * key_scale;
        s_$j_0 = select(fma(steps, scale, shift), s_$j_0, exact);
      }
#end
    }

// Weights times values by bytes. Weights are rounded against the largest of their row in the tile, so that
// each tile has all bits; what is not for integers has none, and is added by f32.
    let up = 127 * exp2(min((m_0 - tops[0]) * p.to_base_two, vec4f(100)));
    {
      var words = vec4u(0);
      var sum = vec4f(0);
#for j in RK
      {
        let weight = probabilities[(tx + $j * TX) * TY + ty];
        let counted = select(max(weight, vec4f(0)), vec4f(0), exact);
        sum += counted;
        words |= vec4u(min(round(counted * up), vec4f(127))) << vec4u(8 * $j);
      }
#end
      weight_bytes[tx * TY + ty] = words;
      weight_sums[tx * TY + ty] = sum;
    }
#for s in SLICES
    workgroupBarrier();
    if (has_integers) {
      stage_value_bytes(lid, value_bytes_at(integers), key_in_tile / 4, p.value_from + $s * VALUES);
    }
    if (needs_exact) {
      stage_values(lid, v_base, list, first, part_end, p.value_from + $s * VALUES);
    }
    workgroupBarrier();
    if (has_integers) {
      var sum = vec4f(0);
      for (var x = 0u; x < TX; x++) {
        sum += weight_sums[x * TY + ty];
      }
#for c in CPS
      {
        var column_0 = vec4i(0);
        var column_1 = vec4i(0);
        var column_2 = vec4i(0);
        var column_3 = vec4i(0);
        for (var word = 0u; word < BC / 4; word++) {
          let weights = weight_bytes[word * TY + ty];
          let values = value_slice[word * VALUES + tx + $c * TX];
          column_0 += dot_rows(weights, values.x);
          column_1 += dot_rows(weights, values.y);
          column_2 += dot_rows(weights, values.z);
          column_3 += dot_rows(weights, values.w);
        }
        let vector = min(p.value_from + $s * VALUES + tx + $c * TX, value_vectors() - 1);
        let scales_at = value_scales_at(integers) + 4 * vector;
        let scale = bitcast<vec4f>(words_at(scales_at));
        let mean = bitcast<vec4f>(words_at(scales_at + 4 * value_vectors()));
#for i in 4
        acc_$(s*CPS+c)_$i += sum[$i] * mean +
          vec4f(vec4i(column_0[$i], column_1[$i], column_2[$i], column_3[$i])) * scale / up[$i];
#end
      }
#end
    }
    if (needs_exact) {
      for (var key = 0u; key < BC; key++) {
        let stored = probabilities[key * TY + ty];
        let seen_row = (bitcast<vec4u>(stored) != bitcast<vec4u>(vec4f(UNSEEN))) & exact;
        let weight = select(vec4f(0), stored, seen_row);
#for c in CPS
        {
          let value = slice[key * VALUES + tx + $c * TX];
#for i in 4
          acc_$(s*CPS+c)_$i += weight[$i] * select(vec4f(0), value, seen_row[$i]);
#end
        }
#end
      }
    }
#end

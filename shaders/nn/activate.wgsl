// Functions of each number, which one `p.activation` says. Their methods and coefficients are those of the CPU's
// (tools/activations.ts), where they are explained.

#import shared/exp.wgsl
#import shared/tanh.wgsl

/// The reciprocal, where devices may be off by more than one rounding.
fn reciprocal(x: vec4f) -> vec4f {
  let near = 1 / x;
  return fma(near, fma(-x, near, vec4f(1)), near);
}

/// max(x, 0) - |x| Q(|x|), Q being the tail of the normal distribution: 1 over the eighth power of a polynomial.
fn gelu_of(x: vec4f) -> vec4f {
  let z = min(abs(x), vec4f(14));
  var power = fma(vec4f(5.801692282147997e-7), z, vec4f(-5.086957116873236e-6));
  power = fma(power, z, vec4f(3.002265111717861e-5));
  power = fma(power, z, vec4f(-4.244138108333573e-5));
  power = fma(power, z, vec4f(0.00038432111614383757));
  power = fma(power, z, vec4f(0.0008004460833035409));
  power = fma(power, z, vec4f(0.009522453881800175));
  power = fma(power, z, vec4f(0.04879898577928543));
  power = fma(power, z, vec4f(0.10876370221376419));
  power = fma(power, z, vec4f(1.0905077457427979));
  power *= power;
  power *= power;
  power *= power;
  return max(x, vec4f(0)) - select(z * reciprocal(power), vec4f(0), z >= vec4f(14));
}

/// x sigmoid(y), y having the sign of x: both are made of one power of what is below 0.
fn gated_by(x: vec4f, y: vec4f) -> vec4f {
  let power = exp_of(-abs(y));
  return x * select(power, vec4f(1), x >= vec4f(0)) * reciprocal(1 + power);
}

fn activate(x: vec4f) -> vec4f {
  // Below, all of these are 0, and -Infinity must not become NaN.
  let bounded = max(x, vec4f(-1000));
  var value = x;
  switch p.activation {
    case 1u: {
      value = gelu_of(x);
    }
    case 2u: {
      let cubic = bounded * bounded * 0.07135481282;
      value = gated_by(bounded, (cubic + 1.5957691216) * bounded);
    }
    case 3u: {
      value = gated_by(bounded, bounded);
    }
    case 4u: {
      value = max(x, vec4f(0));
    }
    case 5u: {
      value = tanh_of(x);
    }
    default: {}
  }
  // min() and max() may make a number of NaN.
  return select(value, x, (bitcast<vec4u>(x) & vec4u(0x7fffffff)) > vec4u(0x7f800000));
}

// shaders/forward.wgsl with products by bytes.

#import forward.wgsl
#import integer/forward.wgsl

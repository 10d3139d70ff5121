// load_$TENSOR of an input: from a binding of its own, or from that of the result in whose buffer it lies.

#if $TENSOR_in_out
#import nn/load_from.wgsl TENSOR=$TENSOR FROM=out
#else
#if $TENSOR_in_added
#import nn/load_from.wgsl TENSOR=$TENSOR FROM=added
#else
#import shared/load.wgsl TENSOR=$TENSOR BINDING=$BINDING
#end
#end

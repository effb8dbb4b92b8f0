// Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.
#pragma once

#define HC_ENTRIES_attention \
    HC_ENTRY(attention_32, u64, u64, u64, u32, const u16*, u16*, float*) \
    HC_ENTRY(attention_64, u64, u64, u64, u32, const u16*, u16*, float*) \
    HC_ENTRY(attention_128, u64, u64, u64, u32, const u16*, u16*, float*) \
    HC_ENTRY(attention_delta, u64, u64, u64, u32, const u16*, const u16*, float*) \
    HC_ENTRY(attention_backward_queries_32, u64, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*) \
    HC_ENTRY(attention_backward_queries_64, u64, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*) \
    HC_ENTRY(attention_backward_queries_128, u64, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*) \
    HC_ENTRY(attention_backward_keys_32, u64, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*) \
    HC_ENTRY(attention_backward_keys_64, u64, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*) \
    HC_ENTRY(attention_backward_keys_128, u64, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*)

#define HC_ENTRIES_codec \
    HC_ENTRY(pack_bf16, u64, u64, u32, u64, const float*, float*, u16*, float*) \
    HC_ENTRY(pack_f16, u64, u64, u32, u64, const float*, float*, u16*, float*) \
    HC_ENTRY(pack_int8, u64, u64, u32, u64, const float*, float*, u8*, float*) \
    HC_ENTRY(pack_int4, u64, u64, u32, u64, const float*, float*, u8*, float*) \
    HC_ENTRY(unpack_bf16, u64, u64, const u16*, float*) \
    HC_ENTRY(unpack_f16, u64, u64, const u16*, float*) \
    HC_ENTRY(unpack_int8, u64, u64, const u8*, float*) \
    HC_ENTRY(unpack_int4, u64, u64, const u8*, float*) \
    HC_ENTRY(accumulate_bf16, u64, u64, const u16*, float*) \
    HC_ENTRY(accumulate_f16, u64, u64, const u16*, float*) \
    HC_ENTRY(accumulate_int8, u64, u64, const u8*, float*) \
    HC_ENTRY(accumulate_int4, u64, u64, const u8*, float*) \
    HC_ENTRY(reduce_f32, u64, u64, u32, u64, const float*, const float*, u32, float, float*) \
    HC_ENTRY(reduce_bf16, u64, u64, u32, u64, const u16*, const float*, u32, float, float*) \
    HC_ENTRY(reduce_f16, u64, u64, u32, u64, const u16*, const float*, u32, float, float*) \
    HC_ENTRY(reduce_int8, u64, u64, u32, u64, const u8*, const float*, u32, float, float*) \
    HC_ENTRY(reduce_int4, u64, u64, u32, u64, const u8*, const float*, u32, float, float*)

#define HC_ENTRIES_digest \
    HC_ENTRY(digest, u64, u64, const float*, u64*)

#define HC_ENTRIES_embedding \
    HC_ENTRY(embed, u64, u64, u64, const u32*, const float*, const float*, u16*) \
    HC_ENTRY(embed_backward, u64, u64, const u32*, const u32*, const u32*, const u16*, float*) \
    HC_ENTRY(positions_backward, u64, u64, u64, const u16*, float*)

#define HC_ENTRIES_linear \
    HC_ENTRY(linear, u64, u64, u64, u64, u64, const u16*, const u16*, const float*, u16*) \
    HC_ENTRY(linear_backward, u64, u64, u64, u64, u64, u32, const u16*, const u16*, u16*) \
    HC_ENTRY(linear_weight, u64, u64, u64, u64, u64, const u16*, const u16*, float*)

#define HC_ENTRIES_loss \
    HC_ENTRY(cross_entropy, u64, u64, u64, u32, const u32*, u16*, float*, u32*) \
    HC_ENTRY(squared_error, u64, u64, u32, const float*, u16*, float*) \
    HC_ENTRY(add_losses, u64, const float*, const u32*, double*)

#define HC_ENTRIES_norm \
    HC_ENTRY(norm_partials, u64, u64, u64, const float*, double*) \
    HC_ENTRY(clip, u64, const double*, const double*, double*, u32*)

#define HC_ENTRIES_outer \
    HC_ENTRY(outer_nesterov, u64, u64, const u32*, const float*, float*, float*, float*)

#define HC_ENTRIES_privacy \
    HC_ENTRY(clip_partials, u64, u64, u64, u64, u64, const float*, double*) \
    HC_ENTRY(clip_factors, u64, u64, float, const double*, float*) \
    HC_ENTRY(clipped_sum, u64, u64, u64, u64, const float*, const float*, u64, u64, float, float*)

#define HC_ENTRIES_rows \
    HC_ENTRY(layer_norm, u64, u64, const u16*, const u16*, const float*, const float*, u16*, u16*, float*) \
    HC_ENTRY(layer_norm_backward, u64, u64, u32, const u16*, const float*, const float*, const u16*, u16*) \
    HC_ENTRY(column_parts, u64, u64, u64, u64, const u16*, const u16*, const float*, float*, float*) \
    HC_ENTRY(add_parts, u64, u64, const float*, float*) \
    HC_ENTRY(gelu, u64, const u16*, u16*) \
    HC_ENTRY(gelu_backward, u64, u32, const u16*, const u16*, u16*) \
    HC_ENTRY(relu, u64, const u16*, u16*) \
    HC_ENTRY(relu_backward, u64, u32, const u16*, const u16*, u16*) \
    HC_ENTRY(sum_of, u64, const u16*, const u16*, u16*) \
    HC_ENTRY(put, u64, u32, const u16*, u16*) \
    HC_ENTRY(to_bf16, u64, const float*, u16*) \
    HC_ENTRY(clear, u64, u32*)

#define HC_ENTRIES_select \
    HC_ENTRY(top_k_histogram, u64, u64, u32, const u64*, const float*, float*, u64*) \
    HC_ENTRY(top_k_digit, u64, u32, u64*, u64*) \
    HC_ENTRY(top_k_count, u64, u64, const u64*, const float*, u64*) \
    HC_ENTRY(top_k_offsets, u64, u64*) \
    HC_ENTRY(top_k_write, u64, u64, const u64*, const u64*, const float*, u64*, float*, float*) \
    HC_ENTRY(top_k_add, u64, const u64*, const float*, float*)

#define HC_ENTRIES_update \
    HC_ENTRY(sgd, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, float*, u16*) \
    HC_ENTRY(momentum, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, float*, float*, u16*) \
    HC_ENTRY(nesterov, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, float*, float*, u16*) \
    HC_ENTRY(adam, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, float*, float*, float*, u16*) \
    HC_ENTRY(adamw, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, float*, float*, float*, u16*) \
    HC_ENTRY(momentum_bf16, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, u16*, float*, u16*) \
    HC_ENTRY(nesterov_bf16, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, u16*, float*, u16*) \
    HC_ENTRY(adam_bf16, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, u16*, u16*, float*, u16*) \
    HC_ENTRY(adamw_bf16, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, u16*, u16*, float*, u16*)

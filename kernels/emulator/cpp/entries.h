// Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.
#pragma once

#define HC_ENTRIES_digest \
    HC_ENTRY(digest, u64, u64, const float*, u64*)

#define HC_ENTRIES_norm \
    HC_ENTRY(norm_partials, u64, u64, u64, const float*, double*) \
    HC_ENTRY(clip, u64, const double*, const double*, double*, u32*)

#define HC_ENTRIES_outer \
    HC_ENTRY(outer_nesterov, u64, u64, const u32*, const float*, float*, float*, float*)

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

// Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.
#pragma once

#define HC_ENTRIES_update \
    HC_ENTRY(adamw, u64, u64, const u32*, u64, const u64*, const float*, const float*, const float*, float*, float*, float*, u16*)

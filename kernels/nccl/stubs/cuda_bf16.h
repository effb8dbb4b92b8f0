// With it nccl.h has bf16.
#pragma once
#define __CUDA_BF16_TYPES_EXIST__

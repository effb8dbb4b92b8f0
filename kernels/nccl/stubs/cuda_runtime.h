// What nccl.h takes from CUDA's headers and from C's, so that bindings are made where neither lies.
#pragma once
#define CUDART_VERSION 12000
typedef __SIZE_TYPE__ size_t;
typedef struct CUstream_st *cudaStream_t;

// nccl.h takes nothing from it in C.
#pragma once

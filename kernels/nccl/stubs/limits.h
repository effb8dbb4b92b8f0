#pragma once
#define INT_MIN (-__INT_MAX__ - 1)

// The kernel of the affine scan as a function of the CPU; KERNEL names its source.
#include "cuda_shim.h"
#include KERNEL

extern "C" const char *run(const REAL *A, const REAL *b, const REAL *u0, REAL *u,
                           long long n_steps, long long period, long long stride_A,
                           long long stride_b, long long stride_u, void *scratch,
                           unsigned grid, unsigned resident, unsigned seed)
{
    return shim::launch(grid, THREADS, SHARED_BYTES, resident, seed, [=] {
        affine_scan(A, b, u0, u, n_steps, period, stride_A, stride_b, stride_u,
                    scratch);
    });
}

// The kernels of the Rosenbrock steps as functions of the CPU; KERNEL names their source.
#include "cuda_shim.h"
#include KERNEL

#define RUN(call)                                                                     \
    return shim::launch(1, n, shared_bytes, 1, seed, [=] { call; })

extern "C" const char *run_difference_points(int n, double t, double dt, double moved,
                                             const double *y, const double *atol,
                                             double *points, double *times,
                                             int shared_bytes, unsigned seed)
{
    RUN(difference_points(n, t, dt, moved, y, atol, points, times));
}

extern "C" const char *run_step_matrix(int n, int n_stages, double h, double dt,
                                       double diagonal, double gamma, const double *y,
                                       const double *points, const double *values,
                                       double *work, int shared_bytes, unsigned seed)
{
    RUN(step_matrix(n, n_stages, h, dt, diagonal, gamma, y, points, values, work));
}

extern "C" const char *run_stages(int n, int n_stages, int first, int past, double h,
                                  const double *f, int apart, const double *coefficients,
                                  const double *atol, const double *rtol, double *work,
                                  double *out, double *error, int shared_bytes,
                                  unsigned seed)
{
    RUN(stages(n, n_stages, first, past, h, f, apart, coefficients, atol, rtol, work, out,
               error));
}

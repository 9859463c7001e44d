// The steps of a Rosenbrock method, but for the calls of the right-hand side.
//
// One block, whose thread i has component i of n. A step takes a launch of
// `difference_points`, one of `step_matrix`, and one of `stages` for each argument
// of the right-hand side. All numbers are double.
//
// Words. `known` are rows of n numbers: the state y, h^2 df/dt, and the stages so
// far. What follows from them are combinations of these rows: after each stage the
// next argument and what the next force takes from the stages, after the last one
// the new state and the error estimate. A *force* is the right side of a stage's
// linear equations, h f plus that part. `work` holds, one after the other,
//
//   inverse  n x n, of I / gamma - h J, its columns one after the other
//   known    (2 + S) x n
//   part     n, of the next force

#ifndef SHARED_MEMORY
#define SHARED_MEMORY(type, name) extern __shared__ __align__(16) type name[]
#endif

__device__ double finite_or_zero(double x)
{
    return x - x == 0.0 ? x : 0.0;
}

// Points that differences are taken of, n x (n + 2): the state, the state moved in
// each direction, and once more for a later time; and their times.
extern "C" __global__ void difference_points(int n, double t, double dt, double moved,
                                             const double *y, const double *atol,
                                             double *points, double *times)
{
    const int i = threadIdx.x, m = n + 2;
    for (int k = 0; k < m; ++k)
        points[i * m + k] = y[i];
    points[i * m + i + 1] = y[i] + moved * fmax(fabs(y[i]), atol[i]);
    for (int k = i; k < m; k += n)
        times[k] = k == n + 1 ? t + dt : t;
}

// Invert in place by Gauss-Jordan elimination with row exchanges; thread j has
// column j. A singular matrix gives numbers that are not finite.
__device__ void invert(int n, double *matrix, int *exchanged)
{
    const int j = threadIdx.x;
    for (int k = 0; k < n; ++k) {
        __syncthreads(); // the matrix is complete
        int p = k;
        for (int i = k + 1; i < n; ++i)
            if (fabs(matrix[i * n + k]) > fabs(matrix[p * n + k]))
                p = i;
        const double pivot = matrix[p * n + k];
        __syncthreads(); // every thread has found the pivot
        const double kept = matrix[k * n + j];
        matrix[k * n + j] = matrix[p * n + j];
        matrix[p * n + j] = kept;
        if (j == 0)
            exchanged[k] = p;
        __syncthreads(); // column k, which the others need, has been exchanged
        if (j != k) {
            const double part = matrix[k * n + j] / pivot;
            for (int i = 0; i < n; ++i)
                matrix[i * n + j] -= i == k ? 0.0 : matrix[i * n + k] * part;
            matrix[k * n + j] = part;
        }
        __syncthreads(); // nobody needs column k any more
        if (j == k) {
            for (int i = 0; i < n; ++i)
                matrix[i * n + k] /= -pivot;
            matrix[k * n + k] = 1.0 / pivot;
        }
    }
    __syncthreads(); // from here on thread j has row j
    for (int k = n - 1; k >= 0; --k) {
        const double kept = matrix[j * n + k];
        matrix[j * n + k] = matrix[j * n + exchanged[k]];
        matrix[j * n + exchanged[k]] = kept;
    }
    __syncthreads(); // all rows are there
}

// Prepare a step of length h from the values at the points of the differences. What
// is not finite in the Jacobian and the slope in time counts as zero.
extern "C" __global__ void step_matrix(int n, int n_stages, double h, double dt,
                                       double diagonal, double gamma, const double *y,
                                       const double *points, const double *values,
                                       double *work)
{
    SHARED_MEMORY(double, matrix);
    const int j = threadIdx.x, m = n + 2;
    const double increment = points[j * m + j + 1] - y[j];
    for (int i = 0; i < n; ++i) {
        const double slope = (values[i * m + j + 1] - values[i * m]) / increment;
        matrix[i * n + j] = (i == j ? diagonal : 0.0) - h * finite_or_zero(slope);
    }
    invert(n, matrix, (int *)(matrix + n * n));
    for (int i = 0; i < n; ++i)
        work[j * n + i] = matrix[i * n + j];
    const double slope = (values[j * m + n + 1] - values[j * m]) / dt;
    double *known = work + n * n, *part = known + (2 + n_stages) * n;
    known[j] = y[j];
    known[n + j] = h * (h * finite_or_zero(slope));
    part[j] = gamma * known[n + j];
}

// The stages first, ..., past - 1, which share the right-hand side f, whose components
// are `apart` numbers apart. `out` gets the next argument, or the new state, and
// `error` the mean square of the scaled error estimate.
extern "C" __global__ void stages(int n, int n_stages, int first, int past, double h,
                                  const double *f, int apart,
                                  const double *coefficients, const double *atol,
                                  const double *rtol, double *work, double *out,
                                  double *error)
{
    SHARED_MEMORY(double, force);
    const int i = threadIdx.x, width = 2 + n_stages;
    double *known = work + n * n + i, *part = work + n * n + width * n + i;
    double next = 0.0, other = *part;
    for (int stage = first; stage < past; ++stage) {
        force[i] = h * f[i * apart] + other;
        __syncthreads(); // the force is complete
        double u = 0.0;
        for (int j = 0; j < n; ++j)
            u += work[j * n + i] * force[j];
        __syncthreads(); // nobody needs this force any more
        known[(2 + stage) * n] = u;
        next = other = 0.0;
        for (int k = 0; k < 3 + stage; ++k) {
            next += coefficients[2 * stage * width + k] * known[k * n];
            other += coefficients[(2 * stage + 1) * width + k] * known[k * n];
        }
    }
    out[i] = next;
    *part = other;
    if (past < n_stages)
        return;
    const double scaled = other / (atol[i] + rtol[i] * fmax(fabs(known[0]), fabs(next)));
    force[i] = scaled * scaled;
    __syncthreads(); // all squares are there
    if (i == 0) {
        double sum = 0.0;
        for (int j = 0; j < n; ++j)
            sum += force[j];
        *error = sum / n;
    }
}

/* Stands in for the CUDA device in a build without it. */
#include "kernels/ops.h"

const struct mr_ops *mr_ops_cuda(struct mr_err *err)
{
    mr_err_set(err, MR_ERR_UNSUPPORTED, "this build of millrace has no CUDA kernels (cmake -DMILLRACE_CUDA=ON with a CUDA toolkit makes them)");
    return NULL;
}

/* The copy engine's maps of matrices in device memory, made once for a pointer and its shape. The driver's encoder is asked for by name
 * at run time: libcuda is not linked. */
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/device.cuh"

#include <stdlib.h>

enum { MAPS_MAX = 1024 };
struct tensor_maps {
    int n;
    struct {
        const void *base;
        enum mr_dtype dtype;
        int64_t columns, rows;
        int box_rows;
        CUtensorMap map;
    } entry[MAPS_MAX];
};

static bool map_make(CUtensorMap *map, const void *base, enum mr_dtype dtype, int64_t columns, int64_t rows, int box_rows)
{
    typedef CUresult (*encoder)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static encoder encode;
    if (!encode) {
        void *found = NULL;
        cudaDriverEntryPointQueryResult state;
        if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &state) != cudaSuccess || !found)
            return false;
        encode = (encoder)found;
    }
    bool bytes = dtype == MR_E4M3;
    cuuint64_t sizes[2] = {(cuuint64_t)columns, (cuuint64_t)rows}, strides[1] = {(cuuint64_t)columns * (bytes ? 1 : 2)};
    cuuint32_t box[2] = {bytes ? (cuuint32_t)columns : 64, (cuuint32_t)box_rows}, steps[2] = {1, 1};
    return encode(map, bytes ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)base, sizes, strides, box, steps,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, bytes ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

const CUtensorMap *cuda_tensor_map(struct mr_device *device, const void *base, enum mr_dtype dtype, int64_t columns, int64_t rows, int box_rows)
{
    struct tensor_maps *maps = device->maps;
    if (!maps)
        maps = device->maps = (struct tensor_maps *)calloc(1, sizeof *maps);
    if (!maps)
        return NULL;
    for (int i = 0; i < maps->n; i++)
        if (maps->entry[i].base == base && maps->entry[i].dtype == dtype && maps->entry[i].columns == columns &&
            maps->entry[i].rows == rows && maps->entry[i].box_rows == box_rows)
            return &maps->entry[i].map;
    int at = maps->n < MAPS_MAX ? maps->n++ : 0; /* full: the oldest goes; a launch has copied its maps already */
    maps->entry[at].base = base, maps->entry[at].dtype = dtype;
    maps->entry[at].columns = columns, maps->entry[at].rows = rows, maps->entry[at].box_rows = box_rows;
    if (map_make(&maps->entry[at].map, base, dtype, columns, rows, box_rows))
        return &maps->entry[at].map;
    maps->entry[at].base = NULL;
    return NULL;
}


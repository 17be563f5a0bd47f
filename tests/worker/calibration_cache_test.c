#include "worker/calibration_cache.h"

#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct mr_sched_cost COST = {3900000000, 1500000000, 18400000, 36400, 1310, 600000000, 7};

struct place {
    char folder[64], file[400];
};

static bool place_open(struct place *p)
{
    snprintf(p->folder, sizeof p->folder, "/tmp/millrace-calibration-XXXXXX");
    return mkdtemp(p->folder);
}

/* The one file in it. */
static bool place_file(struct place *p)
{
    int n = 0;
    DIR *dir = opendir(p->folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') {
            snprintf(p->file, sizeof p->file, "%s/%s", p->folder, entry->d_name);
            n++;
        }
    if (dir)
        closedir(dir);
    return n == 1;
}

static void place_close(struct place *p)
{
    unlink(p->file);
    rmdir(p->folder);
}

TEST(what_was_stored_comes_back_for_a_day)
{
    struct place p;
    struct mr_sched_cost cost = {0};
    REQUIRE(place_open(&p));
    EXPECT(!mr_calibration_cache_load(p.folder, "a", 1000, &cost));
    REQUIRE(mr_calibration_cache_store(p.folder, "a", 1000, &COST) && place_file(&p));
    EXPECT(mr_calibration_cache_load(p.folder, "a", 1000 + MR_CALIBRATION_AGE_S, &cost));
    EXPECT(memcmp(&cost, &COST, sizeof cost) == 0);
    EXPECT(!mr_calibration_cache_load(p.folder, "a", 1001 + MR_CALIBRATION_AGE_S, &cost));
    EXPECT(!mr_calibration_cache_load(p.folder, "a", 999, &cost)); /* from the future */
    EXPECT(!mr_calibration_cache_load(p.folder, "b", 1000, &cost));
    place_close(&p);
}

TEST(no_changed_byte_is_believed)
{
    struct place p;
    struct mr_sched_cost cost;
    struct stat st;
    REQUIRE(place_open(&p) && mr_calibration_cache_store(p.folder, "some key", 1000, &COST) && place_file(&p) && stat(p.file, &st) == 0);
    for (long at = 0; at < st.st_size; at++) {
        FILE *file = fopen(p.file, "r+b");
        REQUIRE(file);
        fseek(file, at, SEEK_SET);
        int byte = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(byte ^ 1, file);
        fclose(file);
        EXPECT(!mr_calibration_cache_load(p.folder, "some key", 1000, &cost));
        file = fopen(p.file, "r+b");
        REQUIRE(file);
        fseek(file, at, SEEK_SET);
        fputc(byte, file);
        fclose(file);
    }
    EXPECT(mr_calibration_cache_load(p.folder, "some key", 1000, &cost));
    EXPECT(truncate(p.file, st.st_size - 1) == 0 && !mr_calibration_cache_load(p.folder, "some key", 1000, &cost));
    place_close(&p);
}

/* The kernel's own EIO: memory that nobody has mapped, read as a file. */
TEST(a_disk_that_cannot_be_read_is_no_cache)
{
    struct place p;
    struct mr_sched_cost cost;
    REQUIRE(place_open(&p) && mr_calibration_cache_store(p.folder, "a", 1000, &COST) && place_file(&p));
    REQUIRE(unlink(p.file) == 0 && symlink("/proc/self/mem", p.file) == 0);
    FILE *file = fopen(p.file, "rb");
    REQUIRE(file && fgetc(file) == EOF && ferror(file) && errno == EIO);
    fclose(file);
    EXPECT(!mr_calibration_cache_load(p.folder, "a", 1000, &cost));
    EXPECT(mr_calibration_cache_store(p.folder, "a", 1000, &COST) && mr_calibration_cache_load(p.folder, "a", 1000, &cost));
    place_close(&p);
}

TEST(another_device_is_another_key)
{
    char one[MR_CALIBRATION_KEY_BYTES], two[MR_CALIBRATION_KEY_BYTES];
    struct mr_calibration_identity id = {"0123", "cpu-exact-1", "file", 2, 16, 0, 8, 64, 8};
    REQUIRE(mr_calibration_key(&id, one));
    id.path = "cpu-fast-avx2-1";
    REQUIRE(mr_calibration_key(&id, two));
    EXPECT(strcmp(one, two) != 0);
}

TEST_MAIN(TEST_CASE(what_was_stored_comes_back_for_a_day), TEST_CASE(no_changed_byte_is_believed), TEST_CASE(a_disk_that_cannot_be_read_is_no_cache),
          TEST_CASE(another_device_is_another_key))

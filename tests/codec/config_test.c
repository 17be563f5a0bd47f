#include "tests/test.h"

#include "adapters/codec/config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum mr_status read_text(const char *text, struct mr_arena *arena, struct mr_config *out, struct mr_err *err)
{
    mr_arena_init(arena, 0);
    return mr_config_read_text(mr_str_from(text), "test.conf", arena, out, err);
}

TEST(reads_a_tree_with_places)
{
    struct mr_arena arena;
    struct mr_config config;
    struct mr_err err;
    REQUIRE(read_text("# c 99999999999\nmodel = \"m\"; /* 5000000000\n*/ kafka : {\n  list = (\"a\", 2,\n {deep = [1, 2]});\n};\n"
                      "size = 8589934592L; ok = true; f = 1.5; k9999999999 = 1; neg = -2147483648;",
                      &arena, &config, &err) == MR_OK);
    EXPECT(mr_str_is(mr_value_get(&config.root, "model")->as.string, "m"));
    EXPECT_EQ(mr_value_get(&config.root, "size")->as.integer, 8589934592);
    EXPECT_EQ(mr_value_get(&config.root, "neg")->as.integer, INT32_MIN);
    EXPECT(mr_value_get(&config.root, "ok")->as.boolean);
    EXPECT(mr_value_get(&config.root, "f")->as.real == 1.5);
    const struct mr_value *list = mr_value_get(mr_value_get(&config.root, "kafka"), "list");
    REQUIRE(list && list->kind == MR_ARRAY && list->as.array.n == 3);
    EXPECT_EQ(mr_config_find(&config, list).line, 4);
    EXPECT_STR(mr_config_find(&config, list).file, "test.conf");
    EXPECT_EQ(mr_config_find(&config, mr_value_get(&list->as.array.items[2], "deep")).line, 5);
    EXPECT_EQ(mr_config_find(&config, &config.root).line, 0);
    EXPECT_EQ(config.n_places, 14);
    mr_arena_fini(&arena);
}

static void refused(const char *text, const char *start, const char *part)
{
    struct mr_arena arena;
    struct mr_config config;
    struct mr_err err = {0};
    EXPECT(read_text(text, &arena, &config, &err) != MR_OK);
    if (strncmp(err.text, start, strlen(start)) != 0 || !strstr(err.text, part)) {
        printf("for %.40s\n", text);
        EXPECT_STR(err.text, start);
    }
    mr_arena_fini(&arena);
}

TEST(what_libconfig_reads_wrongly_is_refused)
{
    refused("\na = 8589934592;", "test.conf:2: ", "suffix L");
    refused("a = 2147483648;", "test.conf:1: ", "suffix L");
    refused("a = -2147483649;", "test.conf:1: ", "suffix L");
    refused("a = 0x1FFFFFFFF;", "test.conf:1: ", "suffix L");
    refused("a = 0xFFFFFFFF;", "test.conf:1: ", "suffix L");
    refused("l = (1,\n 2,\n 3000000000);", "test.conf:3: ", "suffix L");
    refused("a = 9223372036854775808L;", "test.conf:1: ", "64 bits");
    refused("a = 99999999999999999999LL;", "test.conf:1: ", "64 bits");
    refused("a = \"b\" ; @include \"/etc/passwd\"", "test.conf:1: ", "not allowed");
}

TEST(errors_have_their_line)
{
    refused("a = 1;\nb = ;", "test.conf:2: ", "syntax error");
    refused("a = 1;\na = 2;", "test.conf:2: ", "duplicate");
    refused("a = \"\xff\";", "test.conf:1: ", "UTF-8");
    refused("a = \"open", "test.conf:1: ", "syntax error");
}

static enum mr_status nested(int depth)
{
    char text[256] = "a = ";
    struct mr_arena arena;
    struct mr_config config;
    for (int i = 0; i < depth; i++)
        strcat(text, "(");
    for (int i = 0; i < depth; i++)
        strcat(text, ")");
    strcat(text, ";");
    enum mr_status status = read_text(text, &arena, &config, NULL);
    mr_arena_fini(&arena);
    return status;
}

TEST(depth_and_size_end_at_their_numbers)
{
    EXPECT_EQ(nested(MR_CONFIG_DEPTH_MAX), MR_OK);
    EXPECT_EQ(nested(MR_CONFIG_DEPTH_MAX + 1), MR_ERR_LIMIT);
    char *text = malloc(MR_CONFIG_BYTES_MAX + 2);
    struct mr_arena arena;
    struct mr_config config;
    memset(text, ' ', MR_CONFIG_BYTES_MAX + 1);
    mr_arena_init(&arena, 0);
    EXPECT_EQ(mr_config_read_text((struct mr_str){text, MR_CONFIG_BYTES_MAX}, "t", &arena, &config, NULL), MR_OK);
    EXPECT_EQ(mr_config_read_text((struct mr_str){text, MR_CONFIG_BYTES_MAX + 1}, "t", &arena, &config, NULL), MR_ERR_LIMIT);
    mr_arena_fini(&arena);
    free(text);
}

static char folder[] = "/tmp/mr_config_XXXXXX";

static const char *put(const char *name, const char *text)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

static enum mr_status read_file(const char *text, struct mr_err *err)
{
    struct mr_arena arena;
    struct mr_config config;
    mr_arena_init(&arena, 0);
    enum mr_status status = mr_config_read_file(put("in/main.conf", text), &arena, &config, err);
    if (!status && mr_value_get(&config.root, "inside"))
        EXPECT(strstr(mr_config_find(&config, mr_value_get(&config.root, "inside")).file, "part.conf") != NULL);
    mr_arena_fini(&arena);
    return status;
}

TEST(includes_stay_in_the_folder)
{
    struct mr_err err;
    char path[256], link[300];
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/in", folder);
    REQUIRE(mkdir(path, 0700) == 0);
    put("outside.conf", "outside = 1;\n");
    put("in/part.conf", "inside = 1;\n");
    put("in/wrong.conf", "\n\ninside = 5000000000;\n");
    put("in/loop.conf", "@include \"loop.conf\"\n");
    snprintf(path, sizeof path, "%s/outside.conf", folder);
    snprintf(link, sizeof link, "%s/in/link.conf", folder);
    REQUIRE(symlink(path, link) == 0);
    EXPECT_EQ(read_file("@include \"part.conf\"\nb = 2;\n", &err), MR_OK);
    EXPECT_EQ(read_file("# @include \"../outside.conf\"\nb = \"@include\";\n", &err), MR_OK);
    EXPECT_EQ(read_file("\n@include \"../outside.conf\"\n", &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "main.conf:2: ") != NULL);
    snprintf(link, sizeof link, "@include \"%s\"\n", path);
    EXPECT_EQ(read_file(link, &err), MR_ERR_INVALID);
    EXPECT_EQ(read_file("@include \"link.conf\"\n", &err), MR_ERR_INVALID);
    EXPECT_EQ(read_file("@include \"none.conf\"\n", &err), MR_ERR_INVALID);
    EXPECT_EQ(read_file("@include \"loop.conf\"\n", &err), MR_ERR_LIMIT);
    EXPECT_EQ(read_file("@include \"wrong.conf\"\n", &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "wrong.conf:3: ") != NULL);
    char many[MR_CONFIG_FILES_MAX * 32] = "";
    put("in/empty.conf", "\n");
    for (int i = 1; i < MR_CONFIG_FILES_MAX; i++) /* the first file counts */
        strcat(many, "@include \"empty.conf\"\n");
    EXPECT_EQ(read_file(many, &err), MR_OK);
    strcat(many, "@include \"empty.conf\"\n");
    EXPECT_EQ(read_file(many, &err), MR_ERR_LIMIT);
    EXPECT_EQ(mr_config_read_file("/nonexistent/x", NULL, NULL, &err), MR_ERR_IO);
    snprintf(path, sizeof path, "rm -rf %s", folder);
    EXPECT_EQ(system(path), 0);
}

TEST_MAIN(TEST_CASE(reads_a_tree_with_places), TEST_CASE(what_libconfig_reads_wrongly_is_refused), TEST_CASE(errors_have_their_line),
          TEST_CASE(depth_and_size_end_at_their_numbers), TEST_CASE(includes_stay_in_the_folder))

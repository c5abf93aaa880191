/* Checkpoints: the last two are kept, a damaged one is passed over with a warning, a full disk costs none that is there. */
#include "io_support.h"

static sl_err err;

typedef struct heard { int n; char text[1024]; } heard;

static void listen(void *user, const sl_event *e)
{
    heard *h = user;
    if (e->kind == SL_EVENT_LOG && e->level == SL_LOG_WARN) {
        h->n++;
        snprintf(h->text, sizeof h->text, "%s", e->text);
    }
}

static sl_ctx *listening(heard *h) { return sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .on_event = listen, .event_user = h }); }

static sl_status save(sl_ctx *ctx, const char *dir, int64_t step)
{
    float w[4] = { (float)step, 1, 2, 3 };
    int64_t count[1] = { 10 * step };
    const char *names[2] = { "param/w", "state/count" };
    sl_tensor t[2] = { sl_tensor_of(SL_F32, w, 2, (int64_t)2, (int64_t)2), sl_tensor_of(SL_I64, count, 1, (int64_t)1) };
    json_t *meta = json_pack("{s:s, s:s}", "kind", "test", "key", "abc");
    sl_status st = sl_checkpoint_save(ctx, dir, step, 2, names, t, meta, &err);
    assert_int_equal(json_object_size(meta), 2); /* the caller's is left alone */
    json_decref(meta);
    return st;
}

static void load(sl_ctx *ctx, const char *dir, int64_t want)
{
    sl_dict d;
    int64_t step;
    sl_assert_ok(sl_checkpoint_load(ctx, dir, &d, &step, &err));
    assert_int_equal(step, want);
    assert_true(*(float *)sl_dict_get(&d, "param/w")->data == (float)want);
    assert_int_equal(*(int64_t *)sl_dict_get(&d, "state/count")->data, 10 * want);
    assert_string_equal(json_string_value(json_object_get(d.meta, "key")), "abc");
    assert_string_equal(json_string_value(json_object_get(d.meta, "version")), "1");
    sl_dict_release(&d);
}

static void two_are_kept(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = in_dir(sl_test_dir("keep"), "ck");
    for (int64_t step = 10; step <= 50; step += 10) {
        sl_assert_ok(save(ctx, dir, step));
        assert_int_equal(count_entries(dir), step == 10 ? 1 : 2);
        load(ctx, dir, step);
    }
    assert_true(sl_path_exists(in_dir(dir, "step-000000040.safetensors")));
    /* going back to 40 and on: step 50 was of a course given up */
    sl_assert_ok(save(ctx, dir, 45));
    assert_false(sl_path_exists(in_dir(dir, "step-000000050.safetensors")));
    load(ctx, dir, 45);
    sl_assert_ok(save(ctx, dir, 0));
    load(ctx, dir, 0);
    sl_assert_ok(save(ctx, dir, 12345678901));
    load(ctx, dir, 12345678901);
    sl_assert_fails(save(ctx, dir, -1), SL_ARG, "a step from 0");
    sl_ctx_free(ctx);
}

/* Every byte of the newest, flipped: it is never believed, the older one is found. */
static void every_flipped_byte_is_noticed(void **state)
{
    (void)state;
    heard h = { 0 };
    sl_ctx *ctx = listening(&h);
    const char *dir = keep(sl_test_dir("flip")), *newest = in_dir(dir, "step-000000002.safetensors");
    char *data;
    size_t n;
    sl_assert_ok(save(ctx, dir, 1));
    sl_assert_ok(save(ctx, dir, 2));
    sl_assert_ok(sl_file_read(ctx, newest, &data, &n, &err));
    int unnoticed = 0;
    for (size_t i = 0; i < n; i++) {
        data[i] ^= 0x41;
        put_file(newest, data, n);
        data[i] ^= 0x41;
        sl_dict d;
        int64_t step;
        h.n = 0;
        sl_assert_ok(sl_checkpoint_load(ctx, dir, &d, &step, &err));
        unnoticed += step == 2;
        assert_int_equal(h.n, step == 1);
        sl_dict_release(&d);
    }
    assert_int_equal(unnoticed, 0);
    assert_non_null(strstr(h.text, "step-000000002.safetensors"));
    assert_non_null(strstr(h.text, "checkpoint before it"));
    sl_free(ctx, data);
    sl_ctx_free(ctx);
}

static void every_truncation_is_noticed(void **state)
{
    (void)state;
    heard h = { 0 };
    sl_ctx *ctx = listening(&h);
    const char *dir = keep(sl_test_dir("cut")), *only = in_dir(dir, "step-000000002.safetensors");
    char *data;
    size_t n;
    sl_assert_ok(save(ctx, dir, 2));
    sl_assert_ok(sl_file_read(ctx, only, &data, &n, &err));
    for (size_t i = 0; i < n; i++) {
        put_file(only, data, i);
        sl_dict d;
        int64_t step;
        sl_assert_fails(sl_checkpoint_load(ctx, dir, &d, &step, &err), SL_DATA, "no checkpoint is whole");
    }
    sl_free(ctx, data);
    sl_ctx_free(ctx);
}

static void errors(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = keep(sl_test_dir("errors"));
    sl_dict d;
    int64_t step;
    sl_assert_fails(sl_checkpoint_load(ctx, dir, &d, &step, &err), SL_MISSING, "holds no checkpoint");
    sl_assert_fails(sl_checkpoint_load(ctx, in_dir(dir, "none"), &d, &step, &err), SL_MISSING, "none");
    put_file(in_dir(dir, "step-1.safetensors"), "", 0); /* not a name of ours */
    put_file(in_dir(dir, "notes.txt"), "", 0);
    sl_assert_fails(sl_checkpoint_load(ctx, dir, &d, &step, &err), SL_MISSING, "holds no checkpoint");
    sl_assert_ok(save(ctx, dir, 3));
    assert_int_equal(count_entries(dir), 3);
    /* another version, and a renamed file */
    sl_assert_ok(sl_path_rename(in_dir(dir, "step-000000003.safetensors"), in_dir(dir, "step-000000004.safetensors"), &err));
    heard h = { 0 };
    sl_ctx *quiet = listening(&h);
    sl_assert_fails(sl_checkpoint_load(quiet, dir, &d, &step, &err), SL_DATA, "under another name");
    json_t *meta = json_pack("{s:s, s:s, s:s}", "version", "9", "step", "4", "checksum", "0");
    sl_assert_ok(sl_safetensors_write(ctx, in_dir(dir, "step-000000004.safetensors"), 0, NULL, NULL, meta, &err));
    sl_assert_fails(sl_checkpoint_load(quiet, dir, &d, &step, &err), SL_DATA, "version '9'");
    json_decref(meta);
    meta = json_pack("{s:i}", "a", 1);
    sl_assert_fails(sl_checkpoint_save(ctx, dir, 5, 0, NULL, NULL, meta, &err), SL_ARG, "'a' is none");
    json_decref(meta);
    sl_ctx_free(quiet);
    sl_ctx_free(ctx);
}

static void full_disk_keeps_the_last(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = keep(sl_test_dir("ckfull"));
    sl_assert_ok(save(ctx, dir, 1));
    sl_status st = SL_IO;
    int n = 0;
    while (st != SL_OK) {
        sl_io_fail_at(++n);
        st = save(ctx, dir, 2);
        sl_io_fail_at(0);
        if (st != SL_OK) {
            assert_int_equal(count_entries(dir), 1);
            load(ctx, dir, 1);
        }
    }
    assert_int_equal(n, 5);
    load(ctx, dir, 2);
    sl_ctx_free(ctx);
}

static void no_memory(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = keep(sl_test_dir("ckmem"));
    sl_assert_ok(save(ctx, dir, 1));
    sl_assert_ok(save(ctx, dir, 2));
    sl_status st = SL_MEM;
    for (int n = 1; st != SL_OK; n++) {
        sl_ctx *small = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n });
        sl_dict d;
        int64_t step;
        st = sl_checkpoint_load(small, dir, &d, &step, &err);
        assert_true(st == SL_OK || st == SL_MEM); /* never the older one */
        if (st == SL_OK) {
            assert_int_equal(step, 2);
            sl_dict_release(&d);
        }
        sl_ctx_free(small);
    }
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_are_kept), cmocka_unit_test(every_flipped_byte_is_noticed), cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(errors), cmocka_unit_test(full_disk_keeps_the_last), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("io_checkpoint", tests, NULL, NULL);
}

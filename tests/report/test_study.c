/* report.html of a study: the decision, warnings of all runs, effects, links, and what is missing or damaged. */
#include "support.h"

#include "data/spawn.h"
#include "io/io.h"
#include "report/links.h"

#include <saelab/report.h>
#include <stdio.h>
#include <string.h>

static sl_ctx *ctx;
static sl_err err;
static char dir[512];

static const char INFO[] = "{\"w\": {\"means\": {\"base_f1_h_mean\": 0.5, \"base_l0_mean\": 8.0, \"more_f1_h_mean\": 0.6, \"total_train_time_mean\": 100.0}, \"stderrs\": {\"more_f1_h_stderr\": 0.01}, "
                           "\"final_info_dict\": {\"base_f1_h\": [0.4, 0.5, 0.6], \"more_f1_h\": [0.5, 0.6, 0.8], \"total_train_time\": [100.0]}}}";
static const char RECORDS[] = "{\"arm\": \"base\", \"dataset\": \"w\", \"status\": \"ok\", \"wall_s\": 20}\n{\"arm\": \"more\", \"dataset\": \"w\", \"status\": \"ok\", \"floor\": {\"f1_h\": 0.25}}\n"
                              "{\"arm\": \"more\", \"dataset\": \"w\", \"status\": \"numeric\", \"notes\": \"NaN at step 7\", \"seed_init\": 2}\n";
static const char CONFIG[] = "saelab: \"0.1.0\"\nmachine: {cpu: \"A CPU\", kernels: \"ref\", threads: 2}\nprofile: \"quick\"\n";
static const char CONFIRM[] =
    "{\"profile\": \"quick\", \"decision\": {\"verdict\": \"INCONCLUSIVE\", \"sentence\": \"INCONCLUSIVE: it helps. 1 of 3 conditions hold.\", \"checks\": ["
    "{\"what\": \"f1_h: a - b\", \"world\": \"one\", \"effect\": 0.05, \"lo\": 0.01, \"hi\": 0.09, \"bound\": 0, \"passed\": true},"
    "{\"what\": \"f1_h: a - b\", \"world\": \"two\", \"effect\": 0.02, \"lo\": null, \"hi\": null, \"bound\": 0, \"passed\": false},"
    "{\"what\": \"mcc: a - b\", \"world\": \"one\", \"effect\": -0.03, \"lo\": -0.05, \"hi\": -0.01, \"bound\": -0.01, \"passed\": false},"
    "{\"what\": \"not measured\", \"world\": \"one\", \"effect\": null}]}}";

static const char *at(const char *name)
{
    static char path[4][700];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

static void put(const char *name, const char *text)
{
    char folder[700];
    const char *path = at(name);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    sl_assert_ok(sl_dir_make(folder, &err));
    sl_assert_ok(sl_file_write(ctx, path, text, strlen(text), &err));
}

static int fresh(void **s)
{
    (void)s;
    snprintf(dir, sizeof dir, "%s", sl_test_dir("study_page"));
    return 0;
}

static void run(const char *name, const char *log)
{
    char file[100];
    snprintf(file, sizeof file, "%s/final_info.json", name);
    put(file, INFO);
    snprintf(file, sizeof file, "%s/results.jsonl", name);
    put(file, RECORDS);
    snprintf(file, sizeof file, "%s/config.yaml", name);
    put(file, CONFIG);
    snprintf(file, sizeof file, "%s/log.txt", name);
    put(file, log);
}

static sl_status write_page(sl_ctx *c, const sl_study_page *p) { return sl_report_study(c, p, at("report.html"), &err); }

/* The page after a look at its form; sl_free by the caller. */
static char *page(const sl_study_page *p)
{
    char *text, *out;
    size_t n;
    sl_assert_ok(write_page(ctx, p));
    const char *const argv[] = { "python3", "tests/report/check_page.py", at("report.html"), NULL };
    if (sl_spawn(ctx, argv, &(sl_spawn_opts){ .limit_s = 60, .merge_stderr = true }, &out, &n, &err) != SL_OK)
        fail_msg("%s", out ? out : err.msg);
    sl_free(ctx, out);
    sl_assert_ok(sl_file_read(ctx, at("report.html"), &text, &n, &err));
    return text;
}

#define holds(text, what)                                 \
    do {                                                  \
        if (!strstr(text, what))                          \
            fail_msg("the page does not hold: %s", what); \
    } while (0)

static void two_runs(sl_page_run out[3])
{
    static char one[700], two[700];
    run("run_1", "T warning: the disk is nearly full\n");
    run("run_2", "T warning: the disk is nearly full\nT warning: a <b>\n");
    snprintf(one, sizeof one, "%s", at("run_1"));
    snprintf(two, sizeof two, "%s", at("run_2"));
    out[0] = (sl_page_run){ "run_1", "the first <i>", one };
    out[1] = (sl_page_run){ "run_2", "the second", two };
    out[2] = (sl_page_run){ "run_3", "the third", NULL };
}

static void without_confirmation(void **s)
{
    (void)s;
    sl_page_run r[3];
    two_runs(r);
    put("experiment.yaml", "study: purification\n");
    char *t = page(&(sl_study_page){ .study = "purification", .question = "Does it help?", .run = r, .n_runs = 3, .plan = at("experiment.yaml") });
    holds(t, "<h1>Does it help?</h1>");
    holds(t, "<span class=\"badge\">NOT RUN</span> nothing is claimed: runs only measure, the claim is tested by saelab study confirm purification</p>");
    holds(t, "<li>run_3: NOT RUN</li>");
    holds(t, "<li>run_1, run_2: the disk is nearly full</li>"); /* once, with the names of both */
    holds(t, "<li>run_2: a &lt;b&gt;</li>");
    holds(t, "<li>run_1, run_2: more, seed 2: FAILED (numeric) NaN at step 7</li>");
    holds(t, "<a href=\"run_1/report.html\">run_1</a>: the first &lt;i&gt;</td><td>quick</td><td>3</td><td>3</td><td>1</td><td>2 min 00 s</td><td>A CPU, 2 threads</td>");
    holds(t, "<td>run_3: the third</td><td>NOT RUN</td>");
    holds(t, "id=\"forest0-title\">run_1</title>");
    holds(t, "id=\"forest1-title\">run_2</title>");
    holds(t, "+0.133 [-0.010, +0.277]"); /* .1 .1 .2: mean .1333, se .0333, t(2) = 4.303 */
    holds(t, "<td>run_1</td><td>w</td><td>base</td><td>8.000</td><td>f1_h</td><td>0.5000</td><td>reference</td><td>-</td><td>-</td><td>3</td>");
    holds(t, "<td>more</td><td class=\"none\">NOT RUN</td><td>f1_h</td><td>0.600 <span class=\"se\">± 0.010</span></td><td>+0.1333</td><td>-0.0101 to +0.2768</td><td>0.2500</td><td>3</td>");
    holds(t, "./run experiment purification --out_dir=run_1\n./run experiment purification --out_dir=run_2\n./run experiment purification --out_dir=run_3\n./run plot purification run_1 run_2</pre>");
    holds(t, "Training took 4 min 00 s over all runs.");
    holds(t, "experiment.yaml, the plan</summary><pre>study: purification\n</pre>");
    assert_null(strstr(t, "Conditions of the decision"));
    assert_null(strstr(t, "not all of one profile"));
    assert_null(strstr(t, "http"));
    sl_free(ctx, t);
}

static void decided(void **s)
{
    (void)s;
    sl_page_run r[3];
    two_runs(r);
    put("run_2/config.yaml", "profile: full\nsaelab: \"0.1.0\"\nmachine: {kernels: ref}\n");
    put("confirm/confirm.json", CONFIRM);
    char *t = page(&(sl_study_page){ .study = "s", .question = "", .run = r, .n_runs = 2, .confirm = at("confirm") });
    holds(t, "<h1>The question is not recorded</h1>");
    holds(t, "<span class=\"badge\">INCONCLUSIVE</span> it helps. 1 of 3 conditions hold.</p>");
    const char *one = strstr(t, "✓ f1_h: a - b"), *mcc = strstr(t, "✗ mcc: a - b"), *two = strstr(t, "✗ f1_h: a - b");
    assert_true(one && mcc && two && one < mcc && mcc < two); /* the worlds one after the other */
    holds(t, "+0.0500 [+0.0100, +0.0900]");
    holds(t, ">+0.0200</text>");
    assert_null(strstr(t, "not measured"));
    holds(t, "<a href=\"confirm/report.html\">The whole confirmation</a>");
    holds(t, "<li>The runs are not all of one profile</li>");
    holds(t, "--out_dir=run_2 --profile=full\n./run saelab study confirm s\n./run plot s run_1 run_2</pre>");
    sl_free(ctx, t);
}

/* What was only tried, or cannot be read, decides nothing. */
static void not_decided(void **s)
{
    (void)s;
    static const char *const WRONG[][2] = { { "{\"profile\": ", "the confirmation cannot be read: " }, { "{\"profile\": \"quick\"}", "it holds no decision" }, { "[1]", "it holds no decision" } };
    sl_page_run r[3];
    char confirm[700];
    two_runs(r);
    snprintf(confirm, sizeof confirm, "%s", at("confirm"));
    sl_study_page p = { .study = "s", .question = "q", .run = r, .n_runs = 2, .confirm = confirm };
    put("confirm/confirm.json", "{\"profile\": \"smoke\", \"decision\": {\"verdict\": \"SUPPORTED\", \"sentence\": \"SUPPORTED: yes\", \"checks\": []}}");
    char *t = page(&p);
    holds(t, "<span class=\"badge\">NOT RUN</span> the confirmation that is here only tried the machinery (profile smoke); nothing is claimed</p>");
    assert_null(strstr(t, "SUPPORTED"));
    sl_free(ctx, t);
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        put("confirm/confirm.json", WRONG[i][0]);
        t = page(&p);
        holds(t, "<span class=\"badge\">NOT RUN</span> nothing is claimed");
        holds(t, WRONG[i][1]);
        sl_free(ctx, t);
    }
}

static void damaged(void **s)
{
    (void)s;
    sl_page_run r[3];
    two_runs(r);
    put("run_1/final_info.json", "{\"w\": ");
    put("run_1/results.jsonl", "x\n");
    put("run_1/config.yaml", "profile: [\n");
    char log[6000] = "";
    for (int i = 0; i < 40; i++)
        snprintf(log + strlen(log), sizeof log - strlen(log), "T warning: number %d\n", i);
    put("run_2/log.txt", log);
    char *t = page(&(sl_study_page){ .study = "s", .question = "q", .run = r, .n_runs = 2 });
    holds(t, "<li>run_1: final_info.json is damaged: line 1: ");
    holds(t, "<li>run_1: results.jsonl, record 1 is damaged</li>");
    const char *more = strstr(t, "<details><summary>More warnings</summary>"), *last = strstr(t, "<li>run_2: and ");
    assert_true(more && last && more < last);
    holds(t, "more lines, in its log.txt</li>");
    sl_free(ctx, t);
    r[0].dir = "/no/such/run";
    sl_assert_fails(write_page(ctx, &(sl_study_page){ .study = "s", .question = "q", .run = r, .n_runs = 2 }), SL_MISSING, "/no/such/run");
}

static void failures(void **s)
{
    (void)s;
    sl_page_run r[3];
    two_runs(r);
    char confirm[700];
    put("confirm/confirm.json", CONFIRM);
    snprintf(confirm, sizeof confirm, "%s", at("confirm"));
    sl_study_page p = { .study = "s", .question = "q", .run = r, .n_runs = 3, .confirm = confirm };
    sl_io_fail_at(1);
    sl_assert_fails(write_page(ctx, &p), SL_IO, "report.html");
    sl_io_fail_at(0);
    assert_false(sl_path_exists(at("report.html")));
    bool done = false;
    int seen = 0;
    for (int64_t n = 1; n < 400 && !done; n++) {
        sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_status st = write_page(c, &p);
        assert_true(st == SL_OK || st == SL_MEM);
        done = sl_alloc_count(c) < n;
        seen += st == SL_MEM;
        sl_ctx_free(c);
    }
    assert_true(done);
    assert_true(seen > 0);
}

static void links(void **s)
{
    (void)s;
    char out[1000];
    sl_assert_ok(sl_dir_make(at("a/b"), &err));
    sl_assert_ok(sl_dir_make(at("a b?#/r"), &err));
    assert_string_equal(sl_relative_link(at("report.html"), at("a"), "f", out, sizeof out), "a/f");
    assert_string_equal(sl_relative_link(at("a/report.html"), at("a/b/"), "f", out, sizeof out), "b/f");
    assert_string_equal(sl_relative_link(at("a/b/report.html"), at("a"), "f", out, sizeof out), "../f");
    assert_string_equal(sl_relative_link(at("a/report.html"), at("a"), "f", out, sizeof out), "f");
    assert_string_equal(sl_relative_link(at("a/b/report.html"), at("a b?#/r"), "f", out, sizeof out), "../../a%20b%3F%23/r/f");
    assert_string_equal(sl_relative_link(at("report.html"), at("nowhere"), "f", out, sizeof out), "f");
    assert_string_equal(sl_relative_link(at("a/b/report.html"), at("a b?#/r"), "f", out, 12), "f"); /* does not fit */
    assert_string_equal(sl_relative_link("report.html", ".", "f", out, sizeof out), "f");
    assert_string_equal(sl_relative_link("/report.html", "/", "f", out, sizeof out), "f");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_confirmation, fresh), cmocka_unit_test_setup(decided, fresh), cmocka_unit_test_setup(not_decided, fresh),
        cmocka_unit_test_setup(damaged, fresh),              cmocka_unit_test_setup(failures, fresh), cmocka_unit_test_setup(links, fresh),
    };
    ctx = sl_test_ctx(1);
    int failed = cmocka_run_group_tests_name("report_study", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}

/* report.html: figures, escaping, pictures, and pages of runs that are incomplete or damaged. */
#include "support.h"

#include "data/spawn.h"
#include "io/io.h"

#include <saelab/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_ctx *ctx;
static sl_err err;
static char dir[512];

static const char FINAL_INFO[] =
    "{\"shakespeare_char\": {\"means\": {\"final_train_loss_mean\": 1.25, \"best_val_loss_mean\": 1.5, \"total_train_time_mean\": 150.0,"
    "\"avg_inference_tokens_per_second_mean\": 900.5, \"l0_mean\": 32.0, \"topk_l0_mean\": 32.0, \"topk_fvu_mean\": 0.5, \"topk_dead_mean\": 0.25,"
    "\"topk_ce_loss_score_mean\": null, \"l1_l0_mean\": 41.5, \"l1_fvu_mean\": 0.00002},"
    "\"stderrs\": {\"topk_l0_stderr\": 0.0, \"topk_fvu_stderr\": 0.012, \"topk_dead_stderr\": null, \"l1_l0_stderr\": 3.25},"
    "\"final_info_dict\": {\"total_train_time\": [150.0], \"topk_l0\": [32.0, 32.0, 32.0], \"topk_fvu\": [0.49, 0.5, 0.51], \"topk_ce_loss_score\": [null, null, null]}}}";
static const char RECORDS[] =
    "{\"arm\": \"topk\", \"status\": \"ok\", \"seed_init\": 0, \"wall_s\": 20.5, \"fvu\": 0.5, \"reasons\": {\"ce_loss_score\": \"zeros do no harm\"}, \"floor\": {\"fvu\": 0.9}}\n"
    "{\"arm\": \"l1\", \"status\": \"numeric\", \"notes\": \"NaN in W_enc at step 7\", \"seed_init\": 1, \"wall_s\": 70}\n";
static const char CONFIG[] =
    "saelab: \"0.1.0\"\ntext:\n  name: \"shakespeare_char\"\n  sha256: \"abc\"\n  note: \"\"\nmachine:\n  cpu: \"A CPU\"\n  kernels: \"ref+simd\"\n  threads: 2\n"
    "  precision: \"f32\"\nstudy: \"purification\"\nrun: \"run_0\"\nprofile: \"quick\"\nquestion: \"Does it help?\"\nwhat: \"the baseline\"\n";
static const char LOG[] = "2026-01-01T00:00:00Z start\n2026-01-01T00:00:01Z warning: the disk is nearly full\n2026-01-01T00:00:02Z done\n";
static const char SVG[] =
    "<?xml version=\"1.0\"?>\n<svg width=\"10\" viewBox=\"0 0 760 470\" xmlns=\"http://www.w3.org/2000/svg\">\n<title>Gnuplot</title>"
    "<defs><circle id='gpDot' r='1'/><circle id=\"b\" r='1'/></defs><use xlink:href='#gpDot'/><use xlink:href=\"#b\"/><path fill='url(#b)' d='M0,0'/>"
    "<text>on x = 1, 5 on y</text></svg>\n";

static void put(const char *name, const char *text)
{
    char path[600], folder[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    sl_assert_ok(sl_dir_make(folder, &err));
    sl_assert_ok(sl_file_write(ctx, path, text, strlen(text), &err));
}

static int fresh(void **s)
{
    (void)s;
    snprintf(dir, sizeof dir, "%s", sl_test_dir("page"));
    return 0;
}

static void whole_run(void)
{
    put("final_info.json", FINAL_INFO);
    put("results.jsonl", RECORDS);
    put("config.yaml", CONFIG);
    put("log.txt", LOG);
    put("plots/sae_fvu.svg", SVG);
    put("plots/sae_fvu.gp", "# Unexplained variance\nset title\n");
    put("plots/lm_loss.svg", SVG);
    put("plots/lm_loss.dat", "0 0\n");
    put("plots/another.svg", SVG);
}

/* Writes the page and gives its text; sl_free by the caller. */
static char *page_text(void)
{
    char path[600], *text;
    size_t n;
    sl_assert_ok(sl_report_run(ctx, dir, &err));
    snprintf(path, sizeof path, "%s/report.html", dir);
    sl_assert_ok(sl_file_read(ctx, path, &text, &n, &err));
    assert_int_equal(strlen(text), n);
    return text;
}

/* The same after a look at its form. */
static char *page(void)
{
    char path[600], *out, *text = page_text();
    size_t n;
    snprintf(path, sizeof path, "%s/report.html", dir);
    const char *const argv[] = { "python3", "tests/report/check_page.py", path, NULL };
    if (sl_spawn(ctx, argv, &(sl_spawn_opts){ .limit_s = 60, .merge_stderr = true }, &out, &n, &err) != SL_OK)
        fail_msg("%s", out ? out : err.msg);
    sl_free(ctx, out);
    return text;
}

#define holds(text, what)                                    \
    do {                                                     \
        if (!strstr(text, what))                             \
            fail_msg("the page does not hold: %s", what);    \
    } while (0)

static void figures(void **s)
{
    (void)s;
    whole_run();
    char *t = page();
    holds(t, "<h1>Does it help?</h1>");
    holds(t, "purification / run_0: the baseline");
    holds(t, "<p class=\"verdict\"><span class=\"badge\">NOT RUN</span> quick: no claim (n=3); the claim is tested by saelab study confirm purification</p>");
    holds(t, "<th>topk</th><th>l1</th>");
    holds(t, "<td>32.00 <span class=\"se\">± 0</span></td><td>41.5 <span class=\"se\">± 3.2</span></td>"); /* l0 */
    holds(t, "<td>0.500 <span class=\"se\">± 0.012</span> <span class=\"se\">(chance 0.900)</span></td><td>2e-05</td>"); /* fvu */
    holds(t, "<td class=\"none\">zeros do no harm</td><td class=\"none\">NOT RUN</td>"); /* ce_loss_score */
    holds(t, "<td>0.2500</td>"); /* dead: no standard error */
    holds(t, "<li>l1, seed 1: FAILED (numeric) NaN in W_enc at step 7</li>");
    holds(t, "<li>the disk is nearly full</li>");
    holds(t, "2 min 30 s for the language model, 90.5 s for 2 sparse autoencoders");
    holds(t, "A CPU, 2 threads, kernels ref+simd, f32");
    holds(t, "shakespeare_char, SHA-256 abc");
    holds(t, "<pre class=\"command\">./run experiment purification --out_dir=run_0</pre>");
    holds(t, "<td>topk_fvu</td><td>0.500 <span class=\"se\">± 0.012</span></td><td>0.49, 0.5, 0.51</td>");
    holds(t, "<td>topk_ce_loss_score</td><td class=\"none\">null</td><td>null, null, null</td>");
    assert_null(strstr(t, "http"));
    sl_free(ctx, t);
}

static void same_page_again(void **s)
{
    (void)s;
    whole_run();
    char *a = page_text(), *b = page_text();
    assert_string_equal(a, b);
    sl_free(ctx, a);
    sl_free(ctx, b);
}

static void profiles(void **s)
{
    (void)s;
    whole_run();
    put("config.yaml", "study: s\nrun: r\nprofile: full\n");
    char *t = page_text();
    holds(t, "full: measured (n=3), but no rule was fixed before; the claim is tested by saelab study confirm s");
    holds(t, "./run experiment s --out_dir=r --profile=full");
    holds(t, "The question is not recorded");
    sl_free(ctx, t);
    put("config.yaml", "study: s\nrun: r\nprofile: smoke\n");
    t = page_text();
    holds(t, "smoke: no claim (n=3)");
    sl_free(ctx, t);
}

static void plots(void **s)
{
    (void)s;
    whole_run();
    char *t = page();
    const char *lm = strstr(t, ">lm_loss</title>"), *fvu = strstr(t, ">Unexplained variance</title>"), *other = strstr(t, ">another</title>");
    assert_true(lm && fvu && other && lm < fvu && fvu < other); /* the usual ones first, titles where a script gives them */
    holds(t, "<svg role=\"img\" viewBox=\"0 0 760 470\"");
    holds(t, "id='plot0-gpDot'");
    holds(t, "id=\"plot1-b\"");
    holds(t, "xlink:href='#plot2-gpDot'");
    holds(t, "fill='url(#plot1-b)'");
    holds(t, "<a href=\"plots/lm_loss.dat\">numbers</a>");
    holds(t, "on x = 1, 5 on y");
    assert_null(strstr(t, "<title>Gnuplot</title>"));
    assert_null(strstr(t, "xmlns"));
    sl_free(ctx, t);
}

/* Our plots take the page's colours; a picture with one of its own keeps all of them, on white. */
static void colours(void **s)
{
    (void)s;
    whole_run();
    put("plots/lm_loss.svg", "<svg viewBox=\"0 0 1 1\"><rect fill=\"#ffffff\"/><path stroke='rgb(  0, 114, 178)'/><g color=\"black\"/></svg>");
    put("plots/sae_fvu.svg", "<svg viewBox=\"0 0 1 1\"><rect fill=\"#ffffff\"/><path stroke='rgb(1,2,3)'/></svg>");
    char *t = page();
    holds(t, "<rect fill=\"var(--bg)\"/><path stroke='var(--c1)'/><g color=\"var(--ink)\"/>");
    holds(t, "<svg class=\"paper\" role=\"img\"");
    holds(t, "<rect fill=\"#ffffff\"/><path stroke='rgb(1,2,3)'/>");
    sl_free(ctx, t);
}

/* Six plots are open, the others fold; pictures beyond the page's 3 MB are linked only. */
static void many_plots(void **s)
{
    (void)s;
    enum { BIG = 1000000 };
    char name[64], *big = malloc(BIG + 100);
    assert_non_null(big);
    whole_run();
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "plots/many_%d.svg", i);
        put(name, SVG);
    }
    char *t = page(), *fold = strstr(t, "All other plots (2)");
    int before = 0;
    assert_non_null(fold);
    for (const char *f = t; (f = strstr(f, "<figure>")) && f < fold; f++)
        before++;
    assert_int_equal(before, 6);
    sl_free(ctx, t);
    int n = snprintf(big, 100, "<svg viewBox=\"0 0 1 1\"><desc>");
    memset(big + n, 'x', BIG);
    snprintf(big + n + BIG, 60, "</desc></svg>");
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "plots/zz_%d.svg", i);
        put(name, big);
    }
    t = page_text();
    assert_true(strlen(t) < 3000000);
    holds(t, "zz_3.svg is not shown: the page would pass 3 MB");
    sl_free(ctx, t);
    free(big);
}

/* The forest plot: differences to the first arm by seed; one seed has no interval; a null on either side leaves the seed out. */
static void effects(void **s)
{
    (void)s;
    static const char INFO[] = "{\"w\": {\"means\": {\"base_f1_h_mean\": 0.5, \"more_f1_h_mean\": 0.6}, \"stderrs\": {}, \"final_info_dict\": "
                               "{\"base_f1_h\": [0.4, 0.5, 0.6, null], \"more_f1_h\": [0.5, 0.6, 0.8, 0.9], \"one_f1_h\": [0.3, null, null, null]}}}";
    put("final_info.json", INFO);
    put("results.jsonl", "{\"arm\": \"base\", \"status\": \"ok\"}\n{\"arm\": \"more\", \"status\": \"ok\"}\n{\"arm\": \"one\", \"status\": \"ok\"}\n");
    put("config.yaml", CONFIG);
    put("log.txt", LOG);
    char *t = page();
    holds(t, "w: f1_h less that of base");
    holds(t, "+0.133 [-0.010, +0.277]"); /* .1 .1 .2: mean .1333, se .0333, t(2) = 4.303 */
    holds(t, ">-0.100</text>");
    sl_free(ctx, t);
    put("results.jsonl", "{\"arm\": \"base\", \"status\": \"ok\"}\n");
    t = page();
    assert_null(strstr(t, "forest-title"));
    sl_free(ctx, t);
}

/* Compositions: cards of the first compositional arm, whatever an SAE's file says, and the graph's own title. */
static void compositions(void **s)
{
    (void)s;
    static const char INFO[] = "{\"text\": {\"means\": {\"best_val_loss_mean\": 1.5}, \"stderrs\": {}, \"final_info_dict\": {}}, \"w\": {\"means\": {\"whole_gain_mean\": 0.125, "
                               "\"whole_covariance_cooccurrence_mean\": 0.75}, \"stderrs\": {}, \"final_info_dict\": {\"whole_gain\": [0.125], \"whole_covariance_cooccurrence\": [0.75]}}}";
    static const char TWO[] = "{\"arm\": \"whole\", \"status\": \"ok\", \"dataset\": \"w\", \"variant\": \"compositional\", \"seed_init\": 0}\n"
                              "{\"arm\": \"less\", \"status\": \"ok\", \"dataset\": \"w\", \"variant\": \"compositional\", \"seed_init\": 0}\n";
    static const char UNITS[] = "{\"units\": [{\"q\": 7, \"fired\": 12, \"relation\": \"f1 + <f2>\", \"phi\": 0.9, \"participants\": [{\"name\": \"f1 #3\", \"share\": 0.5}], "
                                "\"pairs\": [{\"i\": \"f1 #3\", \"j\": \"#4\", \"attribution\": 0.25, \"index\": null}], \"rows\": [{\"value\": 2.5, \"text\": \"a [b] c\"}]}]}";
    put("final_info.json", INFO);
    put("results.jsonl", TWO);
    put("config.yaml", CONFIG);
    put("log.txt", LOG);
    put("sae-w-whole-seed0/composition.json", UNITS);
    put("sae-w-less-seed0/composition.json", UNITS);
    put("plots/net.svg", SVG);
    put("plots/net.dot", "// What goes with what\ngraph {}\n");
    char *t = page();
    assert_non_null(strstr(t, "composition 7: f1 + &lt;f2&gt; (phi 0.90), active in 12 rows"));
    assert_non_null(strstr(t, "f1 #3 with #4: attribution 0.25</li>"));
    assert_non_null(strstr(t, "<code>a [b] c</code> 2.50"));
    assert_non_null(strstr(t, "sae-w-whole-seed0: 1 compositions"));
    assert_null(strstr(t, "sae-w-less-seed0: 1 compositions"));
    assert_non_null(strstr(t, "What goes with what"));
    assert_non_null(strstr(t, "plots/net.dot"));
    assert_non_null(strstr(t, "0.125")); /* the table of composition is there, because it was measured */
    sl_free(ctx, t);
    put("sae-w-whole-seed0/composition.json", "{\"units\": []}");
    t = page();
    assert_null(strstr(t, "<h2>Compositions</h2>"));
    sl_free(ctx, t);
    put("sae-w-whole-seed0/composition.json", "{broken");
    t = page();
    assert_null(strstr(t, "<h2>Compositions</h2>"));
    sl_free(ctx, t);
}

/* Pictures that could run or fetch something are named, not shown. */
static void dangerous_pictures(void **s)
{
    (void)s;
    static const char *const BODIES[] = {
        "<script>alert(1)</script>", "<SCRIPT>alert(1)</SCRIPT>", "<foreignObject></foreignObject>", "<image href=\"x\"/>", "<a xlink:href='javascript:x'>a</a>",
        "<use xlink:href='file:///etc/passwd#x'/>", "<use href=\"other.svg#x\"/>", "<path fill='url(other#a)'/>", "<style>@import 'x'</style>", "<g onload=\"x()\"/>",
        "<g\nonclick='x()'/>",
    };
    for (size_t i = 0; i < sizeof BODIES / sizeof BODIES[0]; i++) {
        char svg[600];
        snprintf(svg, sizeof svg, "<svg viewBox=\"0 0 1 1\">%s</svg>", BODIES[i]);
        put("plots/evil.svg", svg);
        char *t = page_text();
        holds(t, "evil.svg is not shown: it holds ");
        assert_null(strstr(t, BODIES[i]));
        sl_free(ctx, t);
    }
    static const char *const BROKEN[] = { "", "no picture", "<svg viewBox=\"0 0 1 1\">cut off", "<svg>no box</svg>", "<svg viewBox=\"0 0 1 1'><script>\">x</svg>" };
    for (size_t i = 0; i < sizeof BROKEN / sizeof BROKEN[0]; i++) {
        put("plots/evil.svg", BROKEN[i]);
        char *t = page_text();
        holds(t, "evil.svg is not shown: ");
        sl_free(ctx, t);
    }
}

/* Markup in any file of the run is shown, never obeyed. */
static void escaping(void **s)
{
    (void)s;
#define EVIL "<script>alert('x')</script> & \\\"q\\\""
    put("final_info.json", "{\"" EVIL "\": {\"means\": {\"" EVIL "_l0_mean\": 1.0}, \"stderrs\": {}, \"final_info_dict\": {\"" EVIL "_l0\": [1.0]}}}");
    put("results.jsonl", "{\"arm\": \"" EVIL "\", \"status\": \"" EVIL "\", \"notes\": \"" EVIL "\", \"reasons\": {\"fvu\": \"" EVIL "\"}}\n");
    put("config.yaml", "study: \"" EVIL "\"\nrun: \"" EVIL "\"\nprofile: \"" EVIL "\"\nquestion: \"" EVIL "\"\nwhat: \"" EVIL "\"\ntext: {name: \"" EVIL "\", note: \"" EVIL
                       "\"}\nmachine: {cpu: \"" EVIL "\"}\n");
    put("log.txt", "T warning: <script>alert('x')</script>\n\x01\xFF\n");
    put("plots/a.svg", SVG);
    put("plots/a.gp", "# <script>alert('x')</script>\"\n");
    char *t = page();
    assert_null(strstr(t, "<script>alert"));
    assert_null(strstr(t, "'x'"));
    assert_null(strchr(t, '\x01'));
    holds(t, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot;");
    holds(t, "\xEF\xBF\xBD");
    sl_free(ctx, t);
}

/* ---- what is missing or damaged ---- */

static void nothing_there(void **s)
{
    (void)s;
    char *t = page();
    holds(t, "<span class=\"badge\">NOT RUN</span> there are no results");
    holds(t, "<li>final_info.json is missing</li>");
    holds(t, "<li>results.jsonl is missing</li>");
    holds(t, "<li>config.yaml is missing</li>");
    holds(t, "<td class=\"none\">NOT RUN</td>");
    holds(t, "plots/ holds no SVG picture");
    sl_free(ctx, t);
    sl_assert_fails(sl_report_run(ctx, "/no/such/run", &err), SL_MISSING, "/no/such/run: there is no such folder");
}

static void damaged(void **s)
{
    (void)s;
    put("final_info.json", "{\"shakespeare_char\": {\"means\": ");
    put("results.jsonl", "{\"arm\": \"topk\", \"status\": \"ok\"}\n{\"arm\": \n[1]\n");
    put("config.yaml", "study: [\n");
    char *t = page();
    holds(t, "<li>final_info.json is damaged: line 1: ");
    holds(t, "<li>results.jsonl, record 2 is damaged</li>");
    holds(t, "<li>results.jsonl, record 3 is damaged</li>");
    holds(t, "<li>config.yaml is damaged: config.yaml:");
    holds(t, "<th>topk</th>"); /* the good record is used */
    sl_free(ctx, t);
    static const char *const ODD[] = { "{}", "[]", "3", "{\"a\": 1}", "{\"a\": {\"means\": [1]}}", "{\"a\": {\"means\": {\"l0_mean\": \"x\"}, \"final_info_dict\": 3}}" };
    for (size_t i = 0; i < sizeof ODD / sizeof ODD[0]; i++) {
        put("final_info.json", ODD[i]);
        t = page_text();
        holds(t, "NOT RUN");
        sl_free(ctx, t);
    }
}

static void many_warnings(void **s)
{
    (void)s;
    whole_run();
    char log[8000] = "";
    for (int i = 0; i < 60; i++)
        snprintf(log + strlen(log), sizeof log - strlen(log), "T warning: number %d of many\nT warning: again\n", i / 2);
    put("log.txt", log);
    char *t = page();
    holds(t, "<li>number 0 of many</li>");
    holds(t, "and 16 more lines, in log.txt"); /* one record, "again" and 22 of 30 numbers are kept; each number comes twice */
    sl_free(ctx, t);
}

static void failures(void **s)
{
    (void)s;
    whole_run();
    sl_io_fail_at(1);
    sl_assert_fails(sl_report_run(ctx, dir, &err), SL_IO, "report.html");
    sl_io_fail_at(0);
    char path[600];
    snprintf(path, sizeof path, "%s/report.html", dir);
    assert_false(sl_path_exists(path)); /* nothing half-written */
    bool done = false;
    int seen = 0;
    for (int64_t n = 1; n < 200 && !done; n++) { /* the page is made without what could not be read, or it is SL_MEM; nothing leaks */
        sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_status st = sl_report_run(c, dir, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        done = sl_alloc_count(c) < n;
        seen += st == SL_MEM;
        sl_ctx_free(c);
    }
    assert_true(done);
    assert_true(seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(figures, fresh),            cmocka_unit_test_setup(same_page_again, fresh), cmocka_unit_test_setup(profiles, fresh),
        cmocka_unit_test_setup(plots, fresh), cmocka_unit_test_setup(colours, fresh), cmocka_unit_test_setup(many_plots, fresh), cmocka_unit_test_setup(effects, fresh), cmocka_unit_test_setup(compositions, fresh),              cmocka_unit_test_setup(dangerous_pictures, fresh), cmocka_unit_test_setup(escaping, fresh),
        cmocka_unit_test_setup(nothing_there, fresh),      cmocka_unit_test_setup(damaged, fresh),         cmocka_unit_test_setup(many_warnings, fresh),
        cmocka_unit_test_setup(failures, fresh),
    };
    ctx = sl_test_ctx(1);
    int failed = cmocka_run_group_tests_name("report_page", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}

/* Data sets of a run: the text's activations and any number of worlds. */
#include "study/plan_parts.h"

#include "study/cache.h"

#include <string.h>

const sl_opt sl_plan_world_opts[] = {
    SL_OPT_INT(sl_plan_world, samples, 0, 0, 1e12, "rows", "that an SAE is trained on: steps = samples / batch; 0: the arm's own steps"),
    SL_OPT_INT(sl_plan_world, eval_rows, 8000, 100, 1e7, "rows", "fresh ones that everything is measured on"),
    SL_OPT_INT(sl_plan_world, world_seed, 42, 0, 9e15, "", "of the world's truth"),
    SL_OPT_END
};

static const char *const SET_MAPS[] = { "like", "world", "task", "every_arm", "arms", NULL };

static bool is_map_key(const char *key)
{
    for (const char *const *m = SET_MAPS; *m; m++)
        if (strcmp(*m, key) == 0)
            return true;
    return false;
}

/* Options of the plan and of the world itself. */
static sl_status read_world(sl_plan *p, sl_plan_set *s, sl_ynode map, sl_err *err)
{
    for (int i = 0; i < sl_ynode_len(map); i++) {
        const char *key = sl_ynode_text(sl_ynode_key(map, i)), *text = sl_ynode_text(sl_ynode_at(map, i));
        char where[256];
        if (key && is_map_key(key))
            continue;
        sl_ynode_where(sl_ynode_at(map, i), where);
        if (!key || !text)
            return sl_fail(err, SL_CONFIG, where, "one value", "a list or map stands where a value belongs");
        bool own = !sl_opts_find(sl_plan_world_opts, key);
        if (own && !(s->world->opts && sl_opts_find(s->world->opts, key))) {
            sl_ynode_where(sl_ynode_key(map, i), where);
            return sl_fail(err, SL_CONFIG, where, "like, samples, eval_rows, world_seed, task, every_arm, arms, or an option of the world", "unknown key '%s' for world %s", key, s->world->name);
        }
        SL_TRY(sl_opts_set(p->ctx, own ? s->world->opts : sl_plan_world_opts, own ? s->wopts : &s->size, key, text, where, SL_CONFIG, err));
    }
    sl_ynode task = sl_ynode_get(map, "task");
    if (sl_ynode_kind(task) != SL_Y_NONE)
        SL_TRY(sl_opts_from_yaml(p->ctx, sl_task_train_opts, &s->task, task, NULL, err));
    return SL_OK;
}

/* A data set named by `like`, of those before this one; -1: there is none of that name. 0: nothing is said. */
static int like_of(const sl_plan *p, sl_ynode map)
{
    const char *like = sl_ynode_text(sl_ynode_get(map, "like"));
    for (int i = 1; like && i < p->n_sets - 1; i++)
        if (strcmp(p->set[i].name, like) == 0)
            return i;
    return like ? -1 : 0;
}

/* like: set 0, the text, where there is none. */
static void defaults(sl_plan_set *s, const sl_plan_set *like)
{
    if (s->world->opts)
        sl_opts_default(s->world->opts, s->wopts);
    sl_opts_default(sl_plan_world_opts, &s->size);
    sl_opts_default(sl_task_train_opts, &s->task);
    if (!like->world)
        return;
    s->size = like->size;
    s->task = like->task;
    if (s->world == like->world)
        memcpy(s->wopts, like->wopts, s->world->opts_size);
}

static sl_status new_world(sl_plan *p, sl_plan_set *s, sl_ynode key, sl_ynode map, sl_err *err)
{
    char where[256];
    const char *name = sl_ynode_text(key), *world = sl_ynode_text(sl_ynode_get(map, "world"));
    sl_ynode_where(key, where);
    s->like = like_of(p, map);
    if (s->like < 0)
        return sl_fail(err, SL_CONFIG, where, "like: a data set before it", "there is no data set '%s'", sl_ynode_text(sl_ynode_get(map, "like")));
    if (s->like && !world)
        world = p->set[s->like].world->name;
    if (!name || strlen(name) >= sizeof s->name || strcmp(name, "text") == 0)
        return sl_fail(err, SL_CONFIG, where, "a short name, not 'text'", "a data set cannot be called '%s'", name ? name : "?");
    snprintf(s->name, sizeof s->name, "%s", name);
    if (sl_ynode_kind(map) != SL_Y_MAP)
        return sl_fail(err, SL_CONFIG, where, "a map of options", "world '%s' is not a map", name);
    s->world = sl_world_find(world ? world : name);
    if (!s->world)
        return sl_fail(err, SL_CONFIG, where, "a name of `saelab world list`", "there is no world '%s'", world ? world : name);
    s->wopts = sl_alloc(p->ctx, s->world->opts_size);
    if (!s->wopts)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for the options of world '%s'", name);
    defaults(s, &p->set[s->like]);
    return read_world(p, s, map, err);
}

sl_status sl_plan_read_sets(sl_plan *p, sl_ynode run, sl_err *err)
{
    sl_ynode worlds = sl_ynode_get(run, "worlds");
    char where[256];
    int n = sl_ynode_len(worlds);
    sl_ynode_where(worlds, where);
    if (sl_ynode_kind(worlds) != SL_Y_NONE && sl_ynode_kind(worlds) != SL_Y_MAP)
        return sl_fail(err, SL_CONFIG, where, "worlds: {NAME: {samples: ...}}", "worlds is not a map");
    p->set = sl_alloc(p->ctx, (size_t)(n + 1) * sizeof *p->set);
    if (!p->set)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for %d data sets", n + 1);
    snprintf(p->set[0].name, sizeof p->set[0].name, "text");
    p->n_sets = 1;
    for (int i = 0; i < n; i++) /* counted first, so that release frees what a failure leaves */
        SL_TRY(new_world(p, &p->set[p->n_sets++], sl_ynode_key(worlds, i), sl_ynode_at(worlds, i), err));
    return SL_OK;
}

sl_status sl_plan_change_sets(sl_plan *p, sl_ynode profile, sl_err *err)
{
    sl_ynode worlds = sl_ynode_get(profile, "worlds"), every = sl_ynode_get(profile, "every_world");
    for (int i = 1; i < p->n_sets && sl_ynode_kind(every) != SL_Y_NONE; i++) {
        SL_TRY(sl_opts_from_yaml(p->ctx, sl_plan_world_opts, &p->set[i].size, every, SET_MAPS, err));
        sl_ynode task = sl_ynode_get(every, "task");
        if (sl_ynode_kind(task) != SL_Y_NONE)
            SL_TRY(sl_opts_from_yaml(p->ctx, sl_task_train_opts, &p->set[i].task, task, NULL, err));
    }
    for (int i = 0; i < sl_ynode_len(worlds); i++) {
        const char *name = sl_ynode_text(sl_ynode_key(worlds, i));
        char where[256];
        int k = 1;
        sl_ynode_where(sl_ynode_key(worlds, i), where);
        while (name && k < p->n_sets && !sl_name_equal(p->set[k].name, name))
            k++;
        if (!name || k == p->n_sets)
            return sl_fail(err, SL_CONFIG, where, "a world of the run's own section", "the run has no world '%s'", name ? name : "?");
        SL_TRY(read_world(p, &p->set[k], sl_ynode_at(worlds, i), err));
    }
    return SL_OK;
}

json_t *sl_plan_set_json(const sl_plan_set *s)
{
    if (!s->world)
        return json_object();
    json_t *j = sl_opts_json(sl_plan_world_opts, &s->size);
    json_object_set_new(j, "world", json_string(s->world->name));
    json_object_set_new(j, "world_options", s->world->opts ? sl_opts_json(s->world->opts, s->wopts) : json_object());
    if (s->world->kind == SL_WORLD_TASK)
        json_object_set_new(j, "task", sl_opts_json(sl_task_train_opts, &s->task));
    return j;
}

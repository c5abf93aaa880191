/* Arena: a list of blocks that grows and is kept by reset, so that a steady loop allocates once. */
#include <saelab/ctx.h>

#include <stddef.h>

typedef struct block { struct block *next; size_t size, used; char *data; } block;

struct sl_arena {
    sl_ctx *ctx;
    block *first, *cur;
    size_t next_size;
};

sl_arena *sl_arena_new(sl_ctx *ctx, size_t first_block)
{
    sl_arena *a = sl_alloc(ctx, sizeof *a);
    if (a) {
        a->ctx = ctx;
        a->next_size = first_block > 4096 ? first_block : 4096;
    }
    return a;
}

void sl_arena_free(sl_arena *a)
{
    if (!a)
        return;
    for (block *b = a->first; b;) {
        block *next = b->next;
        sl_free(a->ctx, b->data);
        sl_free(a->ctx, b);
        b = next;
    }
    sl_free(a->ctx, a);
}

static block *block_new(sl_arena *a, size_t bytes)
{
    block *b = sl_alloc(a->ctx, sizeof *b);
    if (!b)
        return NULL;
    b->size = bytes > a->next_size ? bytes : a->next_size;
    b->data = sl_alloc(a->ctx, b->size);
    if (!b->data) {
        sl_free(a->ctx, b);
        return NULL;
    }
    a->next_size = b->size < ((size_t)1 << 28) ? b->size * 2 : b->size;
    return b;
}

void *sl_arena_alloc(sl_arena *a, size_t bytes)
{
    bytes = (bytes + 63) & ~(size_t)63;
    while (a->cur && a->cur->size - a->cur->used < bytes) {
        if (!a->cur->next)
            break;
        a->cur = a->cur->next;
        a->cur->used = 0;
    }
    if (!a->cur || a->cur->size - a->cur->used < bytes) {
        block *b = block_new(a, bytes);
        if (!b)
            return NULL;
        if (a->cur)
            a->cur->next = b;
        else
            a->first = b;
        a->cur = b;
    }
    void *p = a->cur->data + a->cur->used;
    a->cur->used += bytes;
    return p;
}

void sl_arena_reset(sl_arena *a)
{
    a->cur = a->first;
    if (a->cur)
        a->cur->used = 0;
}

#include "model/arrangement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/mixtures.h"
#include "base/error.h"

enum { LAYERS = 1 << 16 }; /* more than llama.cpp reads */

static int compare(const void *a, const void *b) {
    return qdq_rules_compare(((const qdq_arranged *)a)->name, ((const qdq_arranged *)b)->name);
}

/* The digits behind "blk." that a dot follows, anywhere in the name; NULL: none. */
static const char *find_layer(const char *name, size_t *length, unsigned long *layer) {
    for (const char *at = name; (at = strstr(at, "blk.")) != NULL; at += 4) {
        *length = strspn(at + 4, "0123456789");
        if (*length == 0 || at[4 + *length] != '.') continue;
        *layer = strtoul(at + 4, NULL, 10);
        return at + 4;
    }
    return NULL;
}

typedef struct pruning {
    const uint32_t *layers;
    size_t n;
    int64_t moved[LAYERS]; /* what a layer becomes: -1 left out, -2 not seen yet */
    uint32_t next;
} pruning;

static bool is_pruned(const pruning *p, unsigned long layer) {
    for (size_t i = 0; i < p->n; i++)
        if (p->layers[i] == layer) return true;
    return false;
}

/* Layers are numbered in the order in which they come. */
static int64_t move(pruning *p, unsigned long layer) {
    if (p->moved[layer] != -2) return p->moved[layer];
    if (is_pruned(p, layer)) return p->moved[layer] = -1;
    if (layer < p->layers[0]) {
        p->next = (uint32_t)layer + 1;
        return p->moved[layer] = (int64_t)layer;
    }
    return p->moved[layer] = p->next++;
}

/* Leaves out and renames; the arrangement is sorted by the names that the model has. */
static qdq_status prune_layers(qdq_arrangement *a, pruning *p) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < a->n; i++) {
        qdq_arranged t = a->tensors[i];
        size_t length;
        unsigned long layer;
        const char *digits = find_layer(t.name, &length, &layer);
        if (digits != NULL && layer >= LAYERS)
            return qdq_fail(QDQ_UNSUPPORTED, "tensor \"%.120s\": a layer of that number cannot be counted", t.name);
        int64_t to = digits != NULL ? move(p, layer) : 0;
        if (to < 0) continue;
        if (digits != NULL && (unsigned long)to != layer) {
            size_t room = strlen(t.name) + 24;
            char *name = malloc(room);
            if (name == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the names of tensors");
            snprintf(name, room, "%.*s%lld%s", (int)(digits - t.name), t.name, (long long)to, digits + length);
            a->renamed[kept] = name;
            t.name = name;
        }
        a->tensors[kept++] = t;
    }
    a->n = kept;
    a->blocks = p->next;
    return QDQ_OK;
}

qdq_status qdq_arrange(const qdq_model *model, const uint32_t *prune, size_t n_prune, qdq_arrangement *arrangement) {
    uint64_t n = qdq_model_tensor_count(model);
    qdq_arrangement a = {.n = n, .shards = 1, .pruned = n_prune > 0};
    bool gguf = qdq_model_layout(model) == QDQ_LAYOUT_GGUF;
    *arrangement = (qdq_arrangement){0};
    if (n_prune > 0 && !gguf)
        return qdq_fail(QDQ_UNSUPPORTED, "layers are left out of GGUF files only: their names say which they are");
    a.tensors = calloc((size_t)n + 1, sizeof *a.tensors);
    a.renamed = calloc((size_t)n + 1, sizeof *a.renamed);
    pruning *p = n_prune > 0 ? malloc(sizeof *p) : NULL;
    qdq_status status = a.tensors != NULL && a.renamed != NULL && (n_prune == 0 || p != NULL)
                            ? QDQ_OK
                            : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)n);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++)
        a.tensors[i] = (qdq_arranged){.index = i, .name = qdq_model_tensor(model, i)->name};
    if (status == QDQ_OK && gguf) qsort(a.tensors, (size_t)n, sizeof *a.tensors, compare);
    if (status == QDQ_OK && p != NULL) {
        p->layers = prune;
        p->n = n_prune;
        p->next = 0;
        for (size_t i = 0; i < LAYERS; i++) p->moved[i] = -2;
        status = prune_layers(&a, p);
    }
    free(p);
    if (status == QDQ_OK)
        *arrangement = a;
    else
        qdq_arrangement_free(&a);
    return status;
}

static int compare_index(const void *a, const void *b) {
    uint64_t x = ((const qdq_arranged *)a)->index, y = ((const qdq_arranged *)b)->index;
    return x < y ? -1 : x > y;
}

qdq_status qdq_arrange_by_shards(const qdq_model *model, qdq_arrangement *arrangement) {
    if (qdq_model_layout(model) != QDQ_LAYOUT_GGUF)
        return qdq_fail(QDQ_UNSUPPORTED, "only a GGUF's shards can be kept");
    /* A model has its tensors shard by shard, each as its file has them. */
    qsort(arrangement->tensors, (size_t)arrangement->n, sizeof *arrangement->tensors, compare_index);
    uint64_t n = qdq_model_tensor_count(model), at = 0;
    uint32_t shard = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(qdq_model_tensor(model, i)->path, qdq_model_tensor(model, i - 1)->path) != 0) shard++;
        if (at < arrangement->n && arrangement->tensors[at].index == i) arrangement->tensors[at++].shard = shard;
    }
    arrangement->shards = shard + 1;
    arrangement->by_shards = true;
    uint32_t seen = 0; /* shards that have a tensor, which come in order */
    for (uint64_t i = 0; i < arrangement->n; i++)
        seen += i == 0 || arrangement->tensors[i].shard != arrangement->tensors[i - 1].shard;
    if (seen != arrangement->shards)
        return qdq_fail(QDQ_UNSUPPORTED, "a shard would have no tensors left; the shards cannot be kept");
    return QDQ_OK;
}

void qdq_arrangement_free(qdq_arrangement *arrangement) {
    for (uint64_t i = 0; arrangement->renamed != NULL && i < arrangement->n; i++) free(arrangement->renamed[i]);
    free(arrangement->renamed);
    free(arrangement->tensors);
    *arrangement = (qdq_arrangement){0};
}

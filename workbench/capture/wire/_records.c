/* Records of decompressed Kafka batches (format 2) into Arrow buffers, column by column.
 *
 * The bytes come from the network: every read is checked against the end of its batch, every count against the bytes
 * that are left, and every varint ends after ten bytes. The loop runs without the GIL and touches no Python object.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

enum { WANT_KEY = 1, WANT_VALUE = 2, WANT_HEADERS = 4 };
enum { SMALLEST_RECORD = 7, SMALLEST_HEADER = 2 };
/* Arrow's readers may look at whole words, a little beyond the last value. */
enum { PADDING = 64 };

/* ---- Block: memory that Arrow arrays can keep ---- */

typedef struct {
    PyObject_HEAD
    char *data;
    Py_ssize_t size;
} Block;

static void block_free(PyObject *self) {
    PyMem_RawFree(((Block *)self)->data);
    PyObject_Free(self);
}

static int block_view(PyObject *self, Py_buffer *view, int flags) {
    Block *block = (Block *)self;
    return PyBuffer_FillInfo(view, self, block->data, block->size, 1, flags);
}

static PyBufferProcs block_as_buffer = {block_view, NULL};

static PyTypeObject BlockType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "workbench.capture.wire._records.Block",
    .tp_basicsize = sizeof(Block),
    .tp_dealloc = block_free,
    .tp_as_buffer = &block_as_buffer,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Read-only memory.",
};

/* ---- growing columns ---- */

typedef struct {
    char *data;
    size_t size, room;
} Column;

static int reserve(Column *column, size_t more) {
    size_t needed, room = column->room;
    char *data;
    if (more > SIZE_MAX / 4 - column->size)
        return 0;
    needed = column->size + more;
    if (needed <= room)
        return 1;
    room = room < 4096 ? 4096 : room;
    while (room < needed)
        room *= 2;
    data = PyMem_RawRealloc(column->data, room);
    if (!data)
        return 0;
    column->data = data;
    column->room = room;
    return 1;
}

/* The caller has reserved the room. */
static inline void put(Column *column, const void *from, size_t size) {
    if (size) {
        memcpy(column->data + column->size, from, size);
        column->size += size;
    }
}

static inline void put_int32(Column *column, int32_t value) { put(column, &value, sizeof value); }
static inline void put_int64(Column *column, int64_t value) { put(column, &value, sizeof value); }
static inline void put_byte(Column *column, uint8_t value) { column->data[column->size++] = (char)value; }

enum {
    OFFSETS, TIMES, KINDS, EPOCHS, KEY_ENDS, KEYS, KEY_VALID, VALUE_ENDS, VALUES, VALUE_VALID,
    LIST_ENDS, NAME_ENDS, NAMES, HEADER_ENDS, HEADERS, HEADER_VALID, ABORTED, COLUMNS
};

typedef struct {
    Column columns[COLUMNS];
    int64_t rows, headers;
} Table;

/* ---- one record ---- */

typedef struct {
    Py_buffer view;
    int64_t count, base_offset, last_delta, base_time, epoch;
    int append_time, aborted;
} Batch;

typedef struct {
    const uint8_t *at, *end;
} Cursor;

static inline int varint(Cursor *cursor, int64_t *out) {
    uint64_t raw = 0;
    int shift = 0;
    while (cursor->at < cursor->end && shift < 70) {
        uint8_t byte = *cursor->at++;
        if (shift == 63 && byte > 1)
            return 0;
        raw |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
            return 1;
        }
        shift += 7;
    }
    return 0;
}

/* Bytes behind a length; -1 is null. */
static inline int sized(Cursor *cursor, const uint8_t **data, int64_t *size) {
    if (!varint(cursor, size) || *size < -1 || *size > cursor->end - cursor->at)
        return 0;
    *data = cursor->at;
    if (*size > 0)
        cursor->at += *size;
    return 1;
}

/* Strict, as Python's decoder: no surrogates, no overlong forms, nothing above U+10FFFF. */
static int is_utf8(const uint8_t *at, int64_t size) {
    const uint8_t *end = at + size;
    while (at < end) {
        uint8_t lead = *at++, low = 0x80, high = 0xbf;
        int more;
        if (lead < 0x80)
            continue;
        if (lead < 0xc2 || lead > 0xf4)
            return 0;
        more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
        if (end - at < more || *at < low || *at > high)
            return 0;
        for (at++; --more; at++)
            if ((*at & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

/* Arrow counts the bytes of a column in 32 bits; the caller has reserved room for the batch. */
static int put_bytes(Column *ends, Column *data, Column *valid, const uint8_t *from, int64_t size) {
    if (size > 0) {
        if ((int64_t)data->size + size > INT32_MAX)
            return 0;
        put(data, from, (size_t)size);
    }
    put_int32(ends, (int32_t)data->size);
    if (valid)
        put_byte(valid, size >= 0);
    return 1;
}

static const char *const CUT = "a record ends before its fields do";
static const char *const TOO_LARGE = "too many bytes for one column";
static const char *const NO_MEMORY = "out of memory";

static const char *parse_header(Cursor *cursor, Table *table, int *readable) {
    Column *columns = table->columns;
    const uint8_t *name, *value;
    int64_t name_size, value_size;
    if (!sized(cursor, &name, &name_size) || name_size < 0)
        return "a header's name is damaged";
    if (!sized(cursor, &value, &value_size))
        return "a header's value is damaged";
    if (!*readable || !is_utf8(name, name_size)) {
        *readable = 0;
        return NULL;
    }
    if (!put_bytes(&columns[NAME_ENDS], &columns[NAMES], NULL, name, name_size) ||
        !put_bytes(&columns[HEADER_ENDS], &columns[HEADERS], &columns[HEADER_VALID], value, value_size))
        return TOO_LARGE;
    table->headers++;
    return NULL;
}

static int reserve_headers(Column *columns, int64_t count) {
    size_t ends = ((size_t)count + 1) * sizeof(int32_t);
    return reserve(&columns[NAME_ENDS], ends) && reserve(&columns[HEADER_ENDS], ends) &&
           reserve(&columns[HEADER_VALID], (size_t)count + 1) && reserve(&columns[NAMES], 3);
}

/* What stands for the headers of a record with a name that is not UTF-8: one replacement character, without a value. */
static const char *put_unreadable(Table *table, const size_t *sizes, int64_t headers) {
    Column *columns = table->columns;
    for (int i = NAME_ENDS; i < ABORTED; i++)
        columns[i].size = sizes[i - NAME_ENDS];
    table->headers = headers + 1;
    if (!reserve_headers(columns, 1))
        return NO_MEMORY;
    if (!put_bytes(&columns[NAME_ENDS], &columns[NAMES], NULL, (const uint8_t *)"\xef\xbf\xbd", 3) ||
        !put_bytes(&columns[HEADER_ENDS], &columns[HEADERS], &columns[HEADER_VALID], NULL, -1))
        return TOO_LARGE;
    return NULL;
}

static const char *parse_headers(Cursor *cursor, Table *table, int keep) {
    Column *columns = table->columns;
    const char *problem;
    const uint8_t *unused;
    size_t sizes[ABORTED - NAME_ENDS];
    int64_t count, size, headers = table->headers;
    int readable = 1;
    if (!varint(cursor, &count) || count < 0 || count > (cursor->end - cursor->at) / SMALLEST_HEADER)
        return "the number of headers is damaged";
    if (!keep) {
        for (; count; count--)
            if (!sized(cursor, &unused, &size) || size < 0 || !sized(cursor, &unused, &size))
                return "a header is damaged";
        return NULL;
    }
    for (int i = NAME_ENDS; i < ABORTED; i++)
        sizes[i - NAME_ENDS] = columns[i].size;
    if (!reserve_headers(columns, count))
        return NO_MEMORY;
    for (; count; count--)
        if ((problem = parse_header(cursor, table, &readable)))
            return problem;
    if (!readable && (problem = put_unreadable(table, sizes, headers)))
        return problem;
    if (table->headers > INT32_MAX)
        return TOO_LARGE;
    put_int32(&columns[LIST_ENDS], (int32_t)table->headers);
    return NULL;
}

static const char *parse_fields(Cursor *cursor, Table *table, int keep, int want) {
    Column *columns = table->columns;
    const uint8_t *data;
    int64_t size;
    if (!sized(cursor, &data, &size))
        return "a key is damaged";
    if (keep && (want & WANT_KEY) && !put_bytes(&columns[KEY_ENDS], &columns[KEYS], &columns[KEY_VALID], data, size))
        return TOO_LARGE;
    if (!sized(cursor, &data, &size))
        return "a value is damaged";
    if (keep && (want & WANT_VALUE) &&
        !put_bytes(&columns[VALUE_ENDS], &columns[VALUES], &columns[VALUE_VALID], data, size))
        return TOO_LARGE;
    return parse_headers(cursor, table, keep && (want & WANT_HEADERS));
}

/* *previous: offset delta of the record before, -1 at the first. */
static const char *parse_record(
    Cursor *batch, Table *table, const Batch *about, int64_t *previous, int64_t low, int64_t high, int want) {
    Column *columns = table->columns;
    const char *problem;
    Cursor record;
    int64_t size, delta, offset;
    int keep;
    if (!varint(batch, &size) || size < SMALLEST_RECORD - 1 || size > batch->end - batch->at)
        return "a record's length is damaged";
    record.at = batch->at + 1; /* attributes, unused */
    record.end = batch->at = batch->at + size;
    if (!varint(&record, &delta))
        return CUT;
    size = (int64_t)((uint64_t)about->base_time + (about->append_time ? 0 : (uint64_t)delta));
    if (!varint(&record, &delta))
        return CUT;
    if (delta <= *previous || delta > about->last_delta)
        return "offsets do not rise within their batch";
    *previous = delta;
    offset = about->base_offset + delta;
    keep = offset >= low && offset < high;
    if ((problem = parse_fields(&record, table, keep, want)))
        return problem;
    if (record.at != record.end)
        return "a record's length does not fit its fields";
    if (!keep)
        return NULL;
    put_int64(&columns[OFFSETS], offset);
    put_int64(&columns[TIMES], size);
    put_byte(&columns[KINDS], (uint8_t)(about->append_time ? 1 : 0));
    put_int32(&columns[EPOCHS], (int32_t)about->epoch);
    put_byte(&columns[ABORTED], (uint8_t)(about->aborted ? 1 : 0));
    table->rows++;
    return NULL;
}

/* ---- one batch ---- */

static int reserve_batch(Table *table, const Batch *batch, int want) {
    static const uint8_t widths[COLUMNS] = {8, 8, 1, 4, 4, 0, 1, 4, 0, 1, 4, 0, 0, 0, 0, 0, 1};
    size_t length = (size_t)batch->view.len;
    Column *columns = table->columns;
    for (int i = 0; i < COLUMNS; i++)
        if (widths[i] && !reserve(&columns[i], (size_t)batch->count * widths[i]))
            return 0;
    if ((want & WANT_KEY) && !reserve(&columns[KEYS], length))
        return 0;
    if ((want & WANT_VALUE) && !reserve(&columns[VALUES], length))
        return 0;
    return !(want & WANT_HEADERS) || (reserve(&columns[NAMES], length + 3) && reserve(&columns[HEADERS], length));
}

/* Damage takes away what the batch had given so far. *position: where in the batch. */
static const char *parse_batch(
    Table *table, const Batch *batch, int64_t low, int64_t high, int want, Py_ssize_t *position) {
    const uint8_t *start = batch->view.buf;
    Cursor cursor = {start, start + batch->view.len};
    Table before = *table;
    const char *problem = NULL;
    int64_t previous = -1;
    if (batch->count < 0 || batch->count > batch->view.len / SMALLEST_RECORD)
        problem = "the number of records does not fit the batch";
    else if (batch->base_offset < 0 || batch->last_delta < 0 || batch->base_offset > INT64_MAX - batch->last_delta)
        problem = "the offsets of the batch are damaged";
    else if (!reserve_batch(table, batch, want))
        problem = NO_MEMORY;
    for (int64_t left = problem ? 0 : batch->count; left && !problem; left--) {
        *position = cursor.at - start;
        problem = parse_record(&cursor, table, batch, &previous, low, high, want);
    }
    if (!problem && cursor.at != cursor.end) {
        *position = cursor.at - start;
        problem = "bytes are left behind the last record";
    }
    if (problem) {
        for (int i = 0; i < COLUMNS; i++)
            table->columns[i].size = before.columns[i].size;
        table->rows = before.rows;
        table->headers = before.headers;
    }
    return problem;
}

/* ---- to and from Python ---- */

/* A byte a row becomes a bit a row, in place. */
static void pack_bits(Column *column) {
    size_t rows = column->size;
    uint8_t *bytes = (uint8_t *)column->data;
    for (size_t row = 0; row < rows; row += 8) {
        uint8_t bits = 0;
        for (size_t i = 0; i < 8 && row + i < rows; i++)
            bits |= (uint8_t)((bytes[row + i] & 1) << i);
        bytes[row / 8] = bits;
    }
    column->size = (rows + 7) / 8;
}

static PyObject *as_block(Column *column) {
    Block *block = PyObject_New(Block, &BlockType);
    char *exact;
    if (!block)
        return NULL;
    exact = PyMem_RawRealloc(column->data, column->size + PADDING);
    if (!exact) {
        block->data = NULL;
        Py_DECREF(block);
        return PyErr_NoMemory();
    }
    memset(exact + column->size, 0, PADDING);
    block->data = exact;
    block->size = (Py_ssize_t)column->size;
    column->data = NULL;
    return (PyObject *)block;
}

static PyObject *answer(Table *table, Py_ssize_t failed, Py_ssize_t position, const char *problem) {
    PyObject *blocks = PyTuple_New(COLUMNS);
    for (int i = 0; blocks && i < COLUMNS; i++) {
        PyObject *block = as_block(&table->columns[i]);
        if (!block)
            Py_CLEAR(blocks);
        else
            PyTuple_SET_ITEM(blocks, i, block);
    }
    if (!blocks)
        return NULL;
    return Py_BuildValue("(LLNnnz)", (long long)table->rows, (long long)table->headers, blocks,
                         problem ? failed : (Py_ssize_t)-1, position, problem);
}

static int take_batch(PyObject *item, Batch *batch) {
    long long count, base_offset, last_delta, base_time, epoch;
    if (!PyArg_ParseTuple(item, "y*LLLLpLp", &batch->view, &count, &base_offset, &last_delta, &base_time,
                          &batch->append_time, &epoch, &batch->aborted))
        return 0;
    batch->count = count;
    batch->base_offset = base_offset;
    batch->last_delta = last_delta;
    batch->base_time = base_time;
    batch->epoch = epoch;
    return 1;
}

static int start_columns(Table *table) {
    static const int ends[] = {KEY_ENDS, VALUE_ENDS, LIST_ENDS, NAME_ENDS, HEADER_ENDS};
    for (int i = 0; i < COLUMNS; i++)
        if (!reserve(&table->columns[i], 8))
            return 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        put_int32(&table->columns[ends[i]], 0);
    return 1;
}

static PyObject *parse_all(Batch *batches, Py_ssize_t count, int64_t low, int64_t high, int want) {
    Table table = {0};
    Py_ssize_t failed = 0, position = 0;
    const char *problem = NULL;
    PyObject *out;
    Py_BEGIN_ALLOW_THREADS
    if (!start_columns(&table))
        problem = NO_MEMORY;
    for (; !problem && failed < count; failed++)
        if ((problem = parse_batch(&table, &batches[failed], low, high, want, &position)))
            break;
    pack_bits(&table.columns[KEY_VALID]);
    pack_bits(&table.columns[VALUE_VALID]);
    pack_bits(&table.columns[HEADER_VALID]);
    pack_bits(&table.columns[ABORTED]);
    Py_END_ALLOW_THREADS
    out = problem == NO_MEMORY ? PyErr_NoMemory() : answer(&table, failed, position, problem);
    for (int i = 0; i < COLUMNS; i++)
        PyMem_RawFree(table.columns[i].data);
    return out;
}

static PyObject *parse(PyObject *module, PyObject *args) {
    PyObject *given, *items, *out = NULL;
    long long low, high;
    Py_ssize_t count, taken = 0;
    Batch *batches;
    int want;
    (void)module;
    if (!PyArg_ParseTuple(args, "OLLi", &given, &low, &high, &want))
        return NULL;
    items = PySequence_Fast(given, "batches must be a sequence");
    if (!items)
        return NULL;
    count = PySequence_Fast_GET_SIZE(items);
    batches = PyMem_Calloc((size_t)count + 1, sizeof *batches);
    if (!batches)
        PyErr_NoMemory();
    while (batches && taken < count && take_batch(PySequence_Fast_GET_ITEM(items, taken), &batches[taken]))
        taken++;
    if (batches && taken == count)
        out = parse_all(batches, count, low, high, want);
    while (taken)
        PyBuffer_Release(&batches[--taken].view);
    PyMem_Free(batches);
    Py_DECREF(items);
    return out;
}

static PyMethodDef methods[] = {
    {"parse", parse, METH_VARARGS,
     "parse(batches, low, high, want) -> (rows, headers, blocks, failed, position, problem)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_records", .m_doc = "Kafka records into Arrow buffers.", .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__records(void) {
    if (PyType_Ready(&BlockType) < 0)
        return NULL;
    return PyModule_Create(&definition);
}

/* The yardstick: read a whole topic with headers through librdkafka, as plainly and as fast as C can.
 * cc -O2 -o reader reader.c -lrdkafka      ./reader BOOTSTRAP TOPIC [QUEUE]
 * prints: records bytes headers seconds. QUEUE: messages that librdkafka keeps ready; its own default is 100,000 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <time.h>

enum { PARTITIONS = 1024, BATCH = 10000 };

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why)) fprintf(stderr, "%s\n", why);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    static rd_kafka_message_t *batch[BATCH];
    int64_t low, ends[PARTITIONS] = {0}, records = 0, bytes = 0, headers = 0;
    const struct rd_kafka_metadata *about;
    double began = now();
    if (argc != 3 && argc != 4) return 2;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "group.id", "benchmark-reader");
    set(conf, "enable.auto.commit", "false");
    if (argc == 4) set(conf, "queued.min.messages", argv[3]);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, argv[2], NULL);
    if (rd_kafka_metadata(client, 0, topic, &about, 10000)) return 1;
    int open = 0, partitions = about->topics[0].partition_cnt;
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
    for (int p = 0; p < partitions && p < PARTITIONS; p++) {
        rd_kafka_query_watermark_offsets(client, argv[2], p, &low, &ends[p], 10000);
        if (low < ends[p] && ++open) rd_kafka_topic_partition_list_add(all, argv[2], p)->offset = low;
    }
    rd_kafka_assign(client, all);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(client);
    while (open > 0) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 1000, batch, BATCH);
        for (ssize_t i = 0; i < got; i++) {
            rd_kafka_headers_t *found;
            if (!batch[i]->err) {
                records++;
                bytes += batch[i]->len;
                if (!rd_kafka_message_headers(batch[i], &found)) headers += rd_kafka_header_cnt(found);
                if (batch[i]->offset == ends[batch[i]->partition] - 1) open--;
            }
            rd_kafka_message_destroy(batch[i]);
        }
    }
    printf("%lld %lld %lld %.3f\n", (long long)records, (long long)bytes, (long long)headers, now() - began);
    return 0; /* no orderly goodbye: only the reading is measured */
}

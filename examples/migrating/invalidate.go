package migrating

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/port"
)

func invalidateBefore(ctx context.Context, rdb *redis.Client, customer string) error {
	keys, err := rdb.Keys(ctx, "page:"+customer+":*").Result() // stops the whole server while it looks at every key
	if err != nil || len(keys) == 0 {
		return err
	}
	return rdb.Del(ctx, keys...).Err()
}

func invalidateAfter(ctx context.Context, b port.KV, customer string) error {
	var changes []port.Change
	for key, err := range b.Keys(ctx, "page/"+customer+"/*") { // in portions, and in this namespace alone
		if err != nil {
			return err
		}
		changes = append(changes, port.Change{Key: key, Delete: true})
	}
	_, err := b.Apply(ctx, changes...)
	return err
}

"""What a tenant sells."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.ids import BEYOND, ProductId, UserId
from db.pages import PAGE_BYTES, Listed, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    id: ProductId
    name: str
    sku: str | None
    price: Decimal | None  # None: it cannot be ordered
    currency: str  # the tenant's
    description: str | None
    image_url: str | None
    is_active: bool
    stock: int | None  # None: it is not counted
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedProduct:
    product: Product
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProduct:
    name: str
    sku: str | None
    price: Decimal | None
    description: str | None
    image_url: str | None
    is_active: bool
    stock: int | None


@dataclass(frozen=True, slots=True)
class SkuTaken:
    by: ProductId


@dataclass(frozen=True, slots=True)
class Priced:
    sku: str
    name: str
    price: Decimal | None
    stock: int | None  # None: there is always enough


@dataclass(frozen=True, slots=True)
class Searched:
    id: ProductId
    name: str
    sku: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    id: ProductId
    name: str
    sku: str
    price: Decimal | None
    stock: int | None
    description: str | None


async def create_product(conn: Conn, user_id: UserId, product: NewProduct) -> ProductId | SkuTaken:
    while True:
        made = await conn.fetchval(_SQL["create_product"], user_id, *values(product))
        if made is not None:
            return ProductId(made)
        other = await conn.fetchval(_SQL["product_with_sku"], user_id, product.sku)
        if other is not None:  # else it went meanwhile
            return SkuTaken(ProductId(other))


async def change_product(
    conn: Conn, user_id: UserId, product_id: ProductId, product: NewProduct
) -> SkuTaken | None:
    other = await conn.fetchval(_SQL["change_product"], user_id, product_id, *values(product))
    return None if other is None else SkuTaken(ProductId(other))


async def read_product(
    conn: Conn, user_id: UserId, product_id: ProductId
) -> VersionedProduct | None:
    record = await conn.fetchrow(_SQL["read_product"], user_id, product_id)
    if record is None:
        return None
    row = dict(record)
    version = row.pop("version")
    return VersionedProduct(Product(**row), version)


async def lock_product(conn: Conn, user_id: UserId, product_id: ProductId) -> int | None:
    """Its version."""
    version: int | None = await conn.fetchval(_SQL["lock_product"], user_id, product_id)
    return version


async def delete_product(conn: Conn, user_id: UserId, product_id: ProductId) -> None:
    await conn.execute(_SQL["delete_product"], user_id, product_id)


async def product_with_sku(conn: Conn, user_id: UserId, sku: str) -> ProductId | None:
    found: ProductId | None = await conn.fetchval(_SQL["product_with_sku"], user_id, sku)
    return found


async def list_products(
    conn: Conn, user_id: UserId, is_active: bool | None, after: int | None, limit: int
) -> Listed[Product]:
    """Youngest first."""
    page = (user_id, BEYOND if after is None else after, limit, PAGE_BYTES)
    if is_active is None:
        return listed(Product, await conn.fetch(_SQL["list_products"], *page))
    return await list_products_by_state(conn, *page, is_active)


async def list_products_by_state(
    conn: Conn, user_id: UserId, before: int, limit: int, page_bytes: int, is_active: bool
) -> Listed[Product]:
    rows = await conn.fetch(
        _SQL["list_products_by_state"], user_id, before, limit, page_bytes, is_active
    )
    return listed(Product, rows)


async def priced(conn: Conn, user_id: UserId, skus: Sequence[str]) -> list[Priced]:
    return [Priced(**row) for row in await conn.fetch(_SQL["priced"], user_id, skus)]


async def hold_stock(conn: Conn, user_id: UserId, skus: Sequence[str]) -> None:
    """What is counted of them is nobody else's to take until the transaction ends."""
    await conn.fetch(_SQL["hold_stock"], user_id, skus)


# ---- what a search looks through -----------------------------------------------------------------


async def catalogue_version(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["catalogue_version"], user_id))


async def searched_products(conn: Conn, user_id: UserId, most: int) -> list[Searched]:
    return [Searched(**row) for row in await conn.fetch(_SQL["searched_products"], user_id, most)]


async def products_shown(
    conn: Conn, user_id: UserId, ids: Sequence[ProductId], sku: str
) -> list[Shown]:
    """Of what is sold."""
    return [Shown(**row) for row in await conn.fetch(_SQL["products_shown"], user_id, ids, sku)]
